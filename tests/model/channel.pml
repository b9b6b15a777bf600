/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel.pml -- the channel's protocol: two requesters, two slots, two responders and a companion
 * per slot, in every interleaving of their steps.
 *
 * The arrows of a cell's word are not written here: transitions.pml has them, printed by the C
 * (transitions.c). What is written here is what the threads do between them, after call.h,
 * endpoint_responder.c and endpoint_companion.c, step by step; the names are those of the C.
 *
 * What is asserted: no call is run twice (ran <= 1), none is lost (a call that returned OK was run,
 * one that was withdrawn never is), and nobody is left behind (watchdog). So that this shows, no
 * wait here ends by itself: the slices after which sleepers look around in the C are left out.
 *
 * It explores interleavings, not the reorderings of a weakly ordered processor (docs/protocol.md).
 *
 *   -DCALLS=n      plain calls per requester; may be 0
 *   -DONEWAY       and a one-way call before them, in the cell in front
 *   -DNESTED       a call may call back once
 *   -DLEFT         with NESTED: the requester's side has a companion too, which leaves a call back to
 *                  the thread that waits for it, and takes it when that waits no more
 *   -DASLEEP       no responder inside: every call is taken by the companion there
 *   -DSTEAL        with LEFT: and a responder, which does the same
 *   -DTORN         with LEFT: the thread may be torn out of its wait, or be so late that the
 *                  companion takes it for torn out
 *   -DTIMEOUT      a wait may be given up: withdrawn, or quarantined until the answer comes
 *   -DDEATH        the enclave may end at any step
 *   -DHOSTILE=n    the host is a scribbler of n words; only `ran` is asserted then
 *   -DBUG_NAME     a bug of that name is built in; the check has to find it
 */
#include "transitions.pml"

#ifndef CALLS
#define CALLS 1
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef RESPONDERS
#define RESPONDERS 2
#endif
#define CELLS 2 /* a power of two; the mask is 1 */
#ifdef ONEWAY
#define LAST (CALLS + 2) /* one more than the last n */
#else
#define LAST (CALLS + 1)
#endif

#ifdef LEFT
#define CALLS_BACK(n) true
#else
#define CALLS_BACK(n) ((n) == LAST - 1)
#endif

/* `provided` keeps Spin from reducing, so it is only there where somebody dies. */
#ifdef DEATH
#define WHILE_ALIVE provided (!dead)
#define OR_LOST || dead
#else
#define WHILE_ALIVE
#define OR_LOST
#endif

#define WORD(n, bits) (((n) << 5) | (bits))
#define CELL(s, i) fw[(s) * CELLS + (i)]
/* hc_in_cell: the cell behind that of n - 1 */
#define IN_CELL(s) ((next[s] - origin[s]) & (CELLS - 1))

/* hc_peek */
#define SEEN(w, n, too) \
    (((w) & ~(SLEEP | BOUND | ((too) -> SWITCH : 0))) == WORD(n, POSTED))
#define PEEK(s, too) \
    (SEEN(CELL(s, 0), next[s], too) || SEEN(CELL(s, IN_CELL(s)), next[s], too))
#define PEEK_BACK(s) SEEN(rv[s], rv_next[s], true)

/* The channel. */
byte fw[SLOTS * CELLS]; /* FORWARD lanes */
byte rv[SLOTS];         /* REVERSE lanes: one call back at a time, so one cell */
#ifdef ASLEEP
byte awake;
#else
byte awake = RESPONDERS;
#endif
/*
 * The bells. A sleeper reads the number, and the kernel puts it to sleep only while it is the same:
 * what matters is whether it was rung since it read, so that is what is kept, per sleeper.
 */
bool bell_rung[SLOTS];
bool door_rung[RESPONDERS];

/* The acceptor's private half of each FORWARD lane. */
byte next[SLOTS] = 1;
byte origin[SLOTS] = 1;
bool claim[SLOTS];
byte run_n[SLOTS];    /* hc_running of the executor's port */
byte run_cell[SLOTS];
byte rv_tail[SLOTS];  /* the executor's last call back */
/* The requester's private half of each REVERSE lane. */
byte rv_next[SLOTS] = 1;

#ifdef LEFT
bool rv_claim[SLOTS];
bool busy[SLOTS];      /* hc_port of the thread that owns the slot */
bool back_rung[SLOTS]; /* the bell of its side's companion */
bool on_back_bell[SLOTS];
byte waits_for[SLOTS]; /* not there in reality: the call that the thread waits for while it is busy */
#endif

/* Who sleeps in the kernel, by what they sleep on. */
bool on_word[SLOTS];
bool on_back[SLOTS];
bool on_bell[SLOTS];
bool on_door[RESPONDERS];

bool dead;

/* Not there in reality: what the properties are about. */
byte ran[SLOTS * 8];
byte ran_back[SLOTS * 8];
bool held[SLOTS];     /* somebody drains the lane */
bool gone[SLOTS * 8]; /* withdrawn: must not run any more */
byte finished;        /* requesters that got through */

/* ---- waking ------------------------------------------------------------------------------- */

inline ring_companion(s) {
    d_step {
        bell_rung[s] = true;
        on_bell[s] = false
    }
}

#ifdef LEFT
inline ring_back(s) {
    d_step {
        back_rung[s] = true;
        on_back_bell[s] = false
    }
}
#endif

inline ring_responder() {
    d_step {
        door_rung[0] = true;
        door_rung[RESPONDERS - 1] = true
    };
#ifndef BUG_RING_WITHOUT_WAKE
    /* The kernel wakes one of those who sleep. */
    if
    :: on_door[0] -> on_door[0] = false
    :: on_door[RESPONDERS - 1] -> on_door[RESPONDERS - 1] = false
    :: else
    fi
#endif
}

/* ---- inside: running calls ------------------------------------------------------------------ */

/* hc_transact on the executor's port, and its wait, while call `n` of slot s runs. */
inline call_back(s, switched) {
    d_step { rv_tail[s] = rv_tail[s] + 1; rang = false };
    if
    :: switched -> t_post(rv[s], rv_tail[s], SWITCH, res)
    :: else -> t_post(rv[s], rv_tail[s], 0, res)
    fi;
    /* hc_rouse_waiter */
#ifndef BUG_NO_ROUSE
    t_rouse(CELL(s, run_cell[s]), run_n[s], 0, res);
    if
    :: res == 1 -> on_word[s] = false
    :: else
    fi;
#endif
    do
    :: rv[s] == WORD(rv_tail[s], DONE) -> break
#ifdef LEFT
    /* A slice is over and nobody took it. Once only: that has to be enough. */
    :: (rv[s] & 3) == POSTED && !rang -> rang = true; ring_back(s)
#endif
    :: atomic {
            rv[s] != WORD(rv_tail[s], DONE) ->
            seen = rv[s];
            res = 1
        };
        if
        :: (seen & SLEEP) == 0 ->
            t_fall_asleep(rv[s], rv_tail[s], (seen & 31), res);
            seen = seen | SLEEP
        :: else
        fi;
        /* The kernel puts it to sleep only while the word is what it was. */
        on_back[s] = res == 1 && rv[s] == seen;
        if
        :: !on_back[s]
#ifdef LEFT
        :: !rang && (rv[s] & 3) == POSTED -> on_back[s] = false
#endif
        fi
    od;
    assert(ran_back[s * 8 + rv_tail[s]] == 1)
}

/*
 * hc_run, and hc_finish with what follows from it. Finishing and waking are one step: a sleeper
 * does nothing in between.
 */
inline run_call(s) {
#ifdef NESTED
    if
    :: CALLS_BACK(taken_n) -> call_back(s, (took == 2))
    :: true
    fi;
#endif
    atomic {
#ifdef BUG_FINISH_IGNORES_SLEEPERS
        t_finish_bound(CELL(s, taken_cell), taken_n, 0, res);
#else
        t_finish(CELL(s, taken_cell), taken_n, 0, res);
#ifndef HOSTILE
        assert(res != 2);
#endif
        on_word[s] = on_word[s] && res != 1;
#endif
        comp = true
    }
}

/*
 * hc_take: the first cell, then the one behind n - 1; one step, since n is posted in one of them
 * only and a look that misses it is as good as an earlier look.
 */
inline take(s, switched_too) {
    atomic {
        taken_cell = 0;
        t_take(CELL(s, 0), taken_n, switched_too, took);
        if
        :: took == 0 || took == 3 ->
            taken_cell = IN_CELL(s);
            t_take(CELL(s, taken_cell), taken_n, switched_too, took)
        :: else
        fi;
        if
        :: took == 1 || took == 2 ->
            d_step {
                if
                :: taken_cell == 0 -> origin[s] = taken_n
                :: else
                fi;
                next[s] = taken_n + 1;
                ran[s * 8 + taken_n] = ran[s * 8 + taken_n] + 1;
                assert(ran[s * 8 + taken_n] <= 1);
                assert(!gone[s * 8 + taken_n]);
                run_n[s] = taken_n;
                run_cell[s] = taken_cell
            }
        :: else
        fi
    }
}

/* hc_drain_claimed, with what is looked for in `comp`. */
inline drain_claimed(s) {
    do
    :: atomic {
            /* Only the thread that holds the claim writes `next`. */
            taken_n = next[s];
            take(s, comp);
            if
            :: took == 1 || took == 2
            :: else -> break
            fi
        };
        run_call(s)
    od
}

inline try_claim(s) {
    d_step {
        mine = !claim[s];
#ifdef BUG_CLAIM_IGNORES_OTHERS
        mine = true;
#endif
        claim[s] = true;
        /* What the rest of the model rests on where it takes steps of the holder as one. */
        if
        :: mine -> assert(!held[s]); held[s] = true
        :: else
        fi
    }
}

/* hc_drain */
inline drain(s, switched_too) {
    comp = switched_too;
    do
    :: atomic {
            PEEK(s, comp) ->
            try_claim(s);
            if
            :: mine
            :: else -> break
            fi
        };
        drain_claimed(s);
        atomic {
            forget();
            d_step { held[s] = false; claim[s] = false };
#ifdef BUG_UNCLAIM_WITHOUT_LOOK
            break;
#endif
            comp = true
        }
    :: else -> break
    od
}

/* What a thread remembers of the call before is nobody's business: fewer states. */
inline forget() {
    d_step { res = 0; seen = 0; took = 0; taken_n = 0; taken_cell = 0; comp = 0; mine = 0; rang = 0 }
}

proctype companion(byte s) WHILE_ALIVE {
    byte res, seen, took, taken_n, taken_cell;
    bool comp, mine, rang;
    do
    :: bell_rung[s] = false;
        drain(s, true);
        atomic {
            forget();
            on_bell[s] = !bell_rung[s]
        };
        !on_bell[s]
    od
}

proctype responder(byte me) WHILE_ALIVE {
    byte res, seen, took, taken_n, taken_cell, s;
    bool comp, mine, rang, work;
    do
    :: /* serve: own lanes, and others' calls that wait for too long; or nothing is seen. */
        atomic {
            if
            :: PEEK(0, false) -> s = 0; work = true
            :: PEEK(SLOTS - 1, false) -> s = SLOTS - 1; work = true
            :: work = false
            fi;
            if
            :: work ->
                try_claim(s);
                comp = false;
                if
                :: mine
                :: else -> goto next_look
                fi
            :: else
            fi
        };
        if
        :: work ->
            drain_claimed(s);
            /* struct kept: goes on holding the claim, and looks for switch calls too. */
            do
            :: atomic { PEEK(s, true) -> comp = true }; drain_claimed(s)
            :: atomic { forget(); d_step { held[s] = false; claim[s] = false }; break }
            od;
#ifndef BUG_UNCLAIM_WITHOUT_LOOK
            drain(s, true)
#endif
        :: else ->
            /* responder_sleep */
            d_step { door_rung[me] = false; awake-- };
#ifndef BUG_SLEEP_WITHOUT_LOOK
            comp = PEEK(0, false) || PEEK(SLOTS - 1, false);
#endif
            if
            :: !comp ->
                on_door[me] = !door_rung[me];
                !on_door[me]
            :: else
            fi;
            awake++
        fi;
next_look:
        atomic { forget(); s = 0; work = false }
    od
}

/* ---- outside: a requester ------------------------------------------------------------------- */

inline count_back(s) {
    d_step {
        ran_back[s * 8 + rv_next[s]] = ran_back[s * 8 + rv_next[s]] + 1;
        assert(ran_back[s * 8 + rv_next[s]] <= 1);
        rv_next[s] = rv_next[s] + 1
    }
}

/* hc_take on the REVERSE lane, whose claim the caller holds, and then hc_run. */
inline take_back(s) {
    t_take(rv[s], rv_next[s], true, res);
    if
    :: res == 1 || res == 2 -> count_back(s)
    :: else
    fi
}

inline run_back(s) {
    atomic {
        if
        :: res == 1 || res == 2 ->
            t_finish(rv[s], rv_next[s] - 1, 0, res);
            on_back[s] = on_back[s] && res != 1
        :: else
        fi;
        res = 0
    }
}

/* hc_serve: the call back that came while its thread waits. */
inline serve_back(s) {
#ifdef LEFT
    atomic {
        if
        :: !rv_claim[s] ->
            rv_claim[s] = true;
            take_back(s)
        :: else -> goto back_served
        fi
    };
    run_back(s);
    rv_claim[s] = false;
back_served:
    skip
#else
    atomic { take_back(s) };
    run_back(s)
#endif
}

#ifdef LEFT
/* hc_is_waited_for, in `res`; `late` when the thread counts as torn out. */
inline look_back(s) {
    t_waited_for(rv[s], rv_next[s], busy[s], res);
#ifdef BUG_TAKE_WHAT_IS_WAITED_FOR
    res = 0;
#endif
    res = res && !late
}

/* hc_drain_back: by somebody else than the thread that waits. */
inline drain_back(s) {
    do
    :: PEEK_BACK(s) ->
#ifndef BUG_DRAIN_ON_WITHOUT_LOOK
        atomic {
            look_back(s);
            if
            :: res == 1 -> break
            :: else
            fi
        };
#endif
#ifdef BUG_TAKE_BACK_IN_TWO_STEPS
        n = rv_next[s];
        atomic {
            rv[s] = WORD(n, TAKEN);
            rv_next[s] = n;
            res = 1;
            count_back(s)
        };
#else
        atomic {
            if
            :: rv_claim[s] -> break
            :: else -> rv_claim[s] = true
            fi
        };
#ifndef BUG_DRAIN_ON_WITHOUT_LOOK
        atomic {
            look_back(s);
            if
            :: res == 1 -> rv_claim[s] = false; break
#ifndef BUG_TAKE_WHAT_CAME_SINCE
            :: !PEEK_BACK(s) -> rv_claim[s] = false; break
#endif
            :: else
            fi
        };
#endif
        atomic {
            /* The thread that waits for the call which this one comes from is there for it. */
            assert(!PEEK_BACK(s) || late || !busy[s] || waits_for[s] != run_n[s]);
            take_back(s)
        };
#endif
        run_back(s);
        rv_claim[s] = false
    :: else -> break
    od
}

/* endpoint_companion_main of the requester's side */
proctype companion_outside(byte s) {
    byte res, n;
    bool late, left;
    do
    :: back_rung[s] = false;
        /* serve_back */
        atomic {
            look_back(s);
            left = res == 1;
            res = 0
        };
        if
        :: !left -> drain_back(s)
        :: else
        fi;
        atomic {
            left = PEEK_BACK(s);
#ifdef BUG_LEAVE_AND_FORGET
            left = false;
#endif
            late = false;
            res = 0;
            on_back_bell[s] = !back_rung[s]
        };
        if
        :: !on_back_bell[s]
        /* Looked at again and again; a look that would find the same is left out. */
        :: left && (!PEEK_BACK(s) || !busy[s]) -> on_back_bell[s] = false
#if defined(TORN) && !defined(BUG_LEAVE_FOR_EVER)
        :: left -> late = true; on_back_bell[s] = false
#endif
        fi;
        left = false
    od
}

#ifdef STEAL
/* steal of endpoint_responder.c, for as long as it does not sleep; when it does, others are rung. */
proctype thief(byte s) {
    byte res, n;
    bool late;
    do
    :: atomic { PEEK_BACK(s) && !busy[s] }; drain_back(s); res = 0; n = 0
    od
}
#endif
#endif

/* hc_await and hc_wait_slow, for call `n` in `cell`. */
/* `rung`: the companion has been told already. */
inline await(s, n, cell) {
    do
    :: atomic {
            CELL(s, cell) == WORD(n, DONE) ->
#ifndef HOSTILE
            assert(ran[s * 8 + n] == 1);
#endif
            break
        }
    :: PEEK_BACK(s) -> serve_back(s)
    /* Nobody took it: hand over to the companion. */
    :: CELL(s, cell) == WORD(n, POSTED) && !rung ->
#ifdef BUG_HAND_OVER_IN_TWO_STEPS
        CELL(s, cell) = WORD(n, POSTED | SWITCH);
        res = 1;
#else
        t_hand_over(CELL(s, cell), n, 0, res);
#endif
        if
        :: res == 1 ->
            rung = true;
#ifndef BUG_HAND_OVER_WITHOUT_RING
            ring_companion(s)
#endif
        :: else
        fi
#ifdef TIMEOUT
    /* hc_give_up: withdrawn, if nobody took it; else quarantined. */
    :: !given_up ->
        given_up = true;
        seen = CELL(s, cell) & (SWITCH | SLEEP);
#ifdef BUG_WITHDRAW_IN_TWO_STEPS
        if
        :: (CELL(s, cell) & 3) == POSTED -> CELL(s, cell) = WORD(n, FREE); res = 1
        :: else -> res = 0
        fi;
#else
        t_withdraw(CELL(s, cell), n, seen, res);
#endif
        if
        :: res == 1 ->
            gone[s * 8 + n] = true;
            tail = n; /* hc_lane_take_back: n is posted again, by the next call */
            break
        :: else ->
#ifdef BUG_QUARANTINE_IGNORED
            tail = n + 1; oldest = n + 1; break
#else
            /* hc_port_recover: the cell is used again once the answer has come. */
#ifdef LEFT
            busy[s] = false;
            CELL(s, cell) == WORD(n, DONE);
            break
#else
            skip
#endif
#endif
        fi
#endif
#ifdef DEATH
    :: dead -> lost = true; break
#endif
#ifdef TORN
    :: (CELL(s, cell) & 3) == TAKEN -> lost = true; torn = true; break
#endif
    :: atomic {
            CELL(s, cell) != WORD(n, DONE) && (CELL(s, cell) != WORD(n, POSTED) || rung) ->
            seen = CELL(s, cell);
            res = 1
        };
        if
        :: (seen & SLEEP) == 0 ->
            t_fall_asleep(CELL(s, cell), n, (seen & 31), res);
            seen = seen | SLEEP
        :: else
        fi;
        if
        :: res == 0 -> skip
#ifndef BUG_SLEEP_WITHOUT_LOOKING_BACK
        :: res == 1 && PEEK_BACK(s) -> skip
#endif
        :: else ->
            on_word[s] = (CELL(s, cell) == seen);
            if
            :: !on_word[s] OR_LOST
#ifdef TORN
            :: (CELL(s, cell) & 3) == TAKEN -> on_word[s] = false; lost = true; torn = true; break
#endif
            fi
        fi
    od
}

/* hc_must_switch, then hc_transact. */
inline plain_call(s) {
    /* All of this is the requester's own, but for the look at `awake`. */
    atomic {
        n = tail;
        if
        :: oldest == tail -> lane_origin = n
        :: else
        fi;
        cell = (n - lane_origin) & (CELLS - 1);
        tail = tail + 1;
#ifdef LEFT
        busy[s] = true;
        waits_for[s] = n;
#endif
#ifdef TIMEOUT
        gone[s * 8 + n] = false;
#endif
#ifndef HOSTILE
        /* Nobody else has this cell. */
        assert((CELL(s, cell) & 3) == FREE || (CELL(s, cell) & 3) == DONE);
#endif
        if
        :: awake != 0 -> rung = false
        :: rung = true
        fi
    };
    if
    :: !rung -> t_post_quick(CELL(s, cell), n, 0, res)
    :: else ->
        t_post(CELL(s, cell), n, SWITCH, res);
#ifndef BUG_SWITCH_WITHOUT_RING
        ring_companion(s)
#endif
    fi;
    await(s, n, cell);
    atomic {
        if
        :: tail != n -> oldest = n + 1
        :: else
        fi;
#ifdef LEFT
        /* Who is torn out stays busy, and calls through another slot. */
        busy[s] = torn;
#endif
        res = 0; seen = 0; rung = 0; given_up = 0; cell = 0
    }
}

/* hc_call_oneway and hc_nudge. */
inline oneway_call(s) {
    n = tail;
    lane_origin = n;
    cell = 0;
    tail = tail + 1;
    t_post(CELL(s, cell), n, 0, res);
#ifndef BUG_NO_NUDGE
    if
    :: awake == 0 -> ring_responder()
    :: else
    fi
#endif
}

proctype requester(byte s) {
    byte n, cell, res, seen, i;
    byte tail = 1;
    byte oldest = 1;
    byte lane_origin = 1;
    bool rung, given_up, lost, torn;
#ifdef ONEWAY
    oneway_call(s);
#endif
    do
    :: i < CALLS && !lost -> plain_call(s); i++
    :: i < CALLS && lost -> break
    :: i == CALLS -> break
    od;
#if defined(ONEWAY) && CALLS > 0 && !defined(TIMEOUT) && !defined(HOSTILE)
    /* What was posted before a call that was answered has been answered. */
    if
    :: !lost -> assert(ran[s * 8 + 1] == 1)
    :: else
    fi;
#endif
    skip;
    d_step { n = 0; cell = 0; res = 0; seen = 0; rung = 0; given_up = 0; finished++ }
}

/*
 * `timeout` is true when nobody can move. Then both must have got through: a lost wake-up, a stuck
 * sleeper and a deadlock all end here. (Companions and responders rightly sleep for ever.)
 */
#ifndef HOSTILE
active proctype watchdog() {
    timeout ->
    assert(finished == SLOTS);
#ifndef DEATH
    /* Nor is anybody in a call that does not end. */
    assert(!held[0] && !held[SLOTS - 1]);
#endif
#if defined(ONEWAY) && !defined(DEATH)
    /* Nobody waits for these; they are run all the same. */
    assert(ran[1] == 1 && ran[(SLOTS - 1) * 8 + 1] == 1);
#endif
}
#endif

#ifdef DEATH
proctype end_of_the_enclave() {
    dead = true
}
#endif

#ifdef HOSTILE
/* The host: writes whatever it likes into the words of the first slot, so many times. */
proctype scribbler() {
    byte times, word, i;
    do
    :: times < HOSTILE ->
        if
        :: word = WORD(1, POSTED)
        :: word = WORD(2, POSTED)
        :: word = WORD(1, TAKEN)
        :: word = WORD(1, DONE)
        :: word = 0
        fi;
        if
        :: i = 0
        :: i = 1
        fi;
        atomic {
            fw[i] = word;
            times++;
            on_bell[0] = false;
            bell_rung[0] = true;
            ring_responder();
            word = 0;
            i = 0
        }
    :: times == HOSTILE -> break
    od
}
#endif

init {
    byte i;
    atomic {
        d_step { fill_transitions() };
        for (i : 0 .. SLOTS - 1) {
            run companion(i);
#ifndef HOSTILE
            run requester(i);
#endif
#ifdef LEFT
            run companion_outside(i);
#endif
#ifdef STEAL
            run thief(i);
#endif
        }
#ifndef ASLEEP
        for (i : 0 .. RESPONDERS - 1) {
            run responder(i)
        }
#endif
#ifdef DEATH
        run end_of_the_enclave();
#endif
#ifdef HOSTILE
        run scribbler();
#endif
    }
}
