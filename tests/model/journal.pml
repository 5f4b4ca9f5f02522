/*
 * Model D: journal members.  Two full copies (0, 1) and disks on which a journal can begin (2, 3), each used once; owners that
 * attach one after the other, of whom the earlier ones never notice and go on for as long as their frames are accepted.  A log is
 * the generation of the record at each position; a journal has none before its first.  A copy that is made whole has gaps between
 * JOIN and DONE.  A change of members is a request that may be applied at any time while its owner's generation and cfg stand,
 * or never; its owner learns of it later, or never.  Streams are synchronous: what a copy has taken, its owner knows.
 */
#ifndef SHORT
#define HIDDEN hidden
#else
#define HIDDEN         /* for the breadth-first search, which spin refuses with hidden variables */
#endif
#ifndef NO
#define NO 2            /* owners */
#endif
#ifndef NW
#define NW 2            /* writes, of all owners */
#endif
#ifndef CHANGES
#define CHANGES 4       /* requests of owners, in all */
#endif
#ifndef NJ
#define NJ 1            /* disks for journals */
#endif
#define NF 2            /* full copies */
#define NM (NF + NJ)
#define L (NW + NO + 1) /* positions 1 .. L */
#define BIT(m) (1 << (m))
#define FULL 3
#define ALL ((1 << NM) - 1)
#define AT(m, s) lg[(m) * (L + 1) + (s)]
#define OG(g, s) og[(g) * (L + 1) + (s)]
#define HOLE 8          /* and more: named, but not there */
#define DK(g, m) dk[(g) * NM + (m)]

/* states of an owner */
#define SEALING 1
#define EQUAL 2
#define START 3
#define ACTIVE 4
/* requests */
#define EJECT 1         /* one in-sync copy */
#define RECORD 2        /* JOURNAL(0) -> JOURNAL(j) */
#define REMOVE 3        /* the journal */
#define SYNC 4          /* a copy becomes SYNCING(j) */
#define UNSYNC 5        /* .. and OUT again */
#define WHOLE 6         /* .. and INSYNC; those in sync that are not kept go OUT */

/* the record */
byte metag = 1, cfg = 1, min_ = FULL;
byte mj;                /* journal: 0 none, 1 placed, 2 recorded */
byte mjm, mjs;          /* its disk, its first record */
byte msy, mss;          /* SYNCING copy + 1, its since_seq */
/* copies */
byte prom[NM], pos[NM], lg[NM * (L + 1)];
bit isj[NM], gaps[NM];
byte used;              /* disks that had a journal */
/* owners, from 1 */
byte st[NO + 1], vin[NO + 1], vj[NO + 1], vjm[NO + 1], vjs[NO + 1], vsy[NO + 1], vss[NO + 1], ocfg[NO + 1];
byte sealed[NO + 1], wt[NO + 1], to[NO + 1], nxt[NO + 1], acked[NO + 1], strm[NO + 1];
byte og[(NO + 1) * (L + 1)], dk[(NO + 1) * NM];
bit head[NO + 1];       /* it took over a journal alone */
byte jj[NO + 1];        /* first record of the journal that it began */
bit joinj[NO + 1], joinx[NO + 1], ovread[NO + 1], ovdone[NO + 1];
byte pj[NO + 1], px[NO + 1];
byte pend[NO + 1], pa[NO + 1], pk[NO + 1];
byte ls[NO + 1], old[NO + 1];
/* ghosts */
byte must, hist[L + 1], nw, nch;
HIDDEN byte i, s, x, y, src, out, ok, n;

#define IS(set, m) ((set) & BIT(m))
#define OWN(g, s) ((s) <= to[g] -> OG(g, s) : (g))
#define COUNTS(g, m) (IS(vin[g], m) || (vj[g] == 2 && vjm[g] == (m)))
#ifdef LEASE_NO_JOURNAL
#define LEASES(g) (vin[g] | (joinx[g] -> BIT(vsy[g] - 1) : 0))
#else
#define LEASES(g) (vin[g] | (vj[g] == 2 || joinj[g] -> BIT(vjm[g]) : 0) | (joinx[g] -> BIT(vsy[g] - 1) : 0))
#endif

inline holds(m, from) {
	assert(pos[m] >= must || must < from);
	for (s : from .. L) { assert(s > must || AT(m, s) == hist[s]) }
	s = 0
}

inline check() {
	assert(min_ != 0);                                                      /* I12 */
	for (i : 0 .. NF - 1) {
		if
		:: IS(min_, i) -> assert(!gaps[i]); holds(i, 1)                 /* I2 */
		:: else
		fi
	}
	if
	:: mj == 2 -> assert(isj[mjm]); holds(mjm, mjs)
	:: else
	fi;
	i = 0
}

/* all up to s_ is what owner g has */
inline keep(g, s_) {
	for (s : 1 .. L) {
		if
		:: s <= s_ && (s > to[g] || OG(g, s) != 0) ->
			assert(s > must || hist[s] == OWN(g, s));
			hist[s] = OWN(g, s)
		:: else
		fi
	}
	s = 0;
	if
	:: s_ > must -> must = s_
	:: else
	fi
}

inline look(g) {
	vin[g] = min_; vj[g] = mj; vjm[g] = mjm; vjs[g] = mjs; vsy[g] = msy; vss[g] = mss; ocfg[g] = cfg
}

/* may copy m be made whole by the journal of owner g? */
inline completes(g, m, end) {                          /* y: what stands there in the history that it has to lie in */
	ok = (!IS(vin[g], m) && pos[m] != 0 && pos[m] <= end);
#ifndef SHORT_COPY
	ok = ok && (pos[m] + 1 >= vjs[g]);
#endif
#ifndef NO_BIND
	ok = ok && (!gaps[m] || (vsy[g] == m + 1 && vss[g] == vjs[g]));
#endif
#ifndef NO_HISTORY
	ok = ok && (AT(m, pos[m]) % HOLE == y);
#endif
	y = 0
}

inline ask(g, what, arg, kept) {
	pend[g] = what; pa[g] = arg; pk[g] = kept; nch++
}

inline forget_join(g) {                                /* x: the journal that was */
	if
	:: vsy[g] == 0 || IS(vin[g], vsy[g] - 1) -> joinx[g] = 0; ovread[g] = 0; ovdone[g] = 0; px[g] = 0
	:: else
	fi;
	if
	:: vj[g] != 1 || vjm[g] != x -> joinj[g] = 0; pj[g] = 0
	:: else
	fi;
	x = 0;
	for (i : 0 .. NM - 1) {                        /* who is no member has no stream */
		if
		:: IS(strm[g], i) && !IS(vin[g], i) && !(vj[g] && vjm[g] == i) && vsy[g] != i + 1 ->
			strm[g] = strm[g] & ~BIT(i)
		:: else
		fi
	}
	i = 0
}

inline record(g) {                                     /* the metadata */
	if
	:: d_step { pend[g] && metag == g && cfg == ocfg[g] ->
		cfg++;
		if
		:: pend[g] == EJECT -> min_ = min_ & ~BIT(pa[g])
		:: pend[g] == RECORD -> mj = 2; mjs = jj[g]
		:: pend[g] == REMOVE -> mj = 0; mjm = 0; mjs = 0
		:: pend[g] == SYNC -> msy = pa[g] + 1; mss = mjs
		:: pend[g] == UNSYNC -> msy = 0; mss = 0
		:: pend[g] == WHOLE -> min_ = pk[g] | BIT(pa[g]); msy = 0; mss = 0
		fi;
		check() }
	:: d_step { st[g] >= SEALING && metag == g && cfg != ocfg[g] ->        /* the owner looks */
		x = vjm[g];
		look(g); pend[g] = 0; pa[g] = 0; pk[g] = 0;
		forget_join(g) }
	fi
}

/* ---- a copy and an owner ---- */

inline pair(g, m) {
	if
	/* SEAL: of a takeover; later, of copies that come back */
	:: d_step { !IS(sealed[g], m) && prom[m] <= g && !IS(strm[g], m) &&
		    (st[g] == SEALING || (st[g] == ACTIVE && metag == g)) && (m < NF || (vj[g] && vjm[g] == m)) ->
		prom[m] = g; sealed[g] = sealed[g] | BIT(m);
		if
		:: st[g] == SEALING && !wt[g] && COUNTS(g, m) -> wt[g] = 1;
			for (i : 1 .. NO) {
				if
				:: i < g -> old[i] = ALL
				:: else
				fi
			}
			i = 0
		:: st[g] == ACTIVE && IS(vin[g], m) ->         /* in sync, and a journal stood in for it */
			if
			:: pos[m] >= to[g] && pos[m] < nxt[g] && AT(m, pos[m]) == OWN(g, pos[m]) ->
				strm[g] = strm[g] | BIT(m); DK(g, m) = pos[m]
			:: else
			fi
		:: else
		fi }
	/* the stream */
	:: d_step { st[g] >= EQUAL && IS(strm[g], m) && prom[m] == g && pos[m] + 1 < nxt[g] &&
		    (vsy[g] != m + 1 || pos[m] < DK(g, vjm[g])) ->
		pos[m]++; AT(m, pos[m]) = OWN(g, pos[m]); DK(g, m) = pos[m] }
	/* heartbeats and reads */
	:: d_step { st[g] == ACTIVE && IS(strm[g], m) && prom[m] == g && (IS(old[g], m) || !IS(ls[g], m)) ->
		old[g] = old[g] & ~BIT(m); ls[g] = ls[g] | BIT(m) }
	:: d_step { m < NF && st[g] == ACTIVE && IS(strm[g], m) && prom[m] == g && IS(vin[g], m) &&
		    !(pend[g] == EJECT && pa[g] == m) && !(pend[g] == WHOLE && !IS(pk[g], m)) &&
		    (ls[g] & LEASES(g)) == LEASES(g) ->
		assert(!gaps[m]); holds(m, 1) }
	/* the owner gives a copy up */
	:: d_step { m < NF && st[g] == ACTIVE && !pend[g] && nch < CHANGES && IS(vin[g], m) &&
		    (vin[g] & strm[g] & ~BIT(m)) != 0 -> ask(g, EJECT, m, 0) }
	/* a copy is made whole */
	:: d_step { m < NF && st[g] == ACTIVE && !pend[g] && nch < CHANGES && vj[g] == 2 && IS(strm[g], vjm[g]) &&
		    IS(sealed[g], m) && prom[m] == g && !IS(strm[g], m) && !IS(vin[g], m) &&
		    (vsy[g] != m + 1 || vss[g] != vjs[g]) ->
		y = OWN(g, pos[m]); completes(g, m, nxt[g] - 1);
		if
		:: ok -> ask(g, SYNC, m, 0)
		:: else
		fi }
	:: d_step { m < NF && st[g] == ACTIVE && vj[g] == 2 && IS(strm[g], vjm[g]) && vsy[g] == m + 1 && vss[g] == vjs[g] &&
		    IS(sealed[g], m) && prom[m] == g && !IS(strm[g], m) ->
		y = OWN(g, pos[m]); completes(g, m, nxt[g] - 1);
		if
		:: ok && DK(g, vjm[g]) >= pos[m] ->                            /* JOIN */
			gaps[m] = 1;
			for (s : 1 .. L) {
				if
				:: s > pos[m] && s <= DK(g, vjm[g]) -> AT(m, s) = AT(vjm[g], s) + HOLE
				:: else
				fi
			}
			s = 0;
			pos[m] = DK(g, vjm[g]); DK(g, m) = pos[m];
			strm[g] = strm[g] | BIT(m)
		:: else
		fi }
	:: d_step { m < NF && vsy[g] == m + 1 && IS(strm[g], m) && !ovread[g] && !ovdone[g] && gaps[m] && vj[g] == 2 &&
		    prom[vjm[g]] == g -> ovread[g] = 1 }
	:: d_step { m < NF && vsy[g] == m + 1 && IS(strm[g], m) && ovread[g] && gaps[m] && prom[m] == g ->
		for (s : 1 .. L) {
			if
			:: s >= vss[g] && s <= pos[m] -> AT(m, s) = AT(m, s) % HOLE
			:: else
			fi
		}
		s = 0;
		gaps[m] = 0; ovread[g] = 0; ovdone[g] = 1 }
	:: d_step { m < NF && vsy[g] == m + 1 && IS(strm[g], m) && !joinx[g] && st[g] == ACTIVE ->      /* it begins again */
		strm[g] = strm[g] & ~BIT(m); sealed[g] = sealed[g] & ~BIT(m); ovread[g] = 0; ovdone[g] = 0 }
	:: d_step { m < NF && vsy[g] == m + 1 && ovdone[g] && !joinx[g] && st[g] == ACTIVE -> joinx[g] = 1; px[g] = nxt[g] }
	:: m < NF && vsy[g] == m + 1 && joinx[g] && st[g] == ACTIVE && !pend[g] && nch < CHANGES &&
	   DK(g, m) + 1 >= px[g] && (vj[g] != 2 || DK(g, vjm[g]) + 1 >= px[g]) ->
		if
		:: d_step { (!IS(vin[g], 0) || DK(g, 0) + 1 >= px[g]) && (!IS(vin[g], 1) || DK(g, 1) + 1 >= px[g]) ->
			ask(g, WHOLE, m, vin[g]) }
		:: d_step { ask(g, WHOLE, m, 0) }                              /* those in sync are gone */
		fi
	:: d_step { m < NF && vsy[g] == m + 1 && st[g] == ACTIVE && !pend[g] && nch < CHANGES && (vin[g] & strm[g]) != 0 ->
		ask(g, UNSYNC, m, 0) }
	fi
}

/* ---- an owner ---- */

#ifdef HEADLESS_NO_WAIT
#define HEADLESS(g) true
#else
#define HEADLESS(g) (wt[g] == 2)
#endif

inline decide(g) {
	src = NM; out = 0; n = 0;
	for (i : 0 .. NM - 1) {
		if
		:: IS(sealed[g], i) && COUNTS(g, i) && !gaps[i] && (i < NF || (isj[i] && pos[i] + 1 >= vjs[g])) ->
			n = n + (i < NF -> 1 : 0);
			if
			:: src == NM -> src = i
			:: src != NM ->
				if
				:: AT(i, pos[i]) > AT(src, pos[src]) ||
				   (AT(i, pos[i]) == AT(src, pos[src]) && pos[i] > pos[src]) -> src = i
				:: else
				fi
			fi
		:: else
		fi
	}
	if
	:: n > 0 && src >= NF ->        /* a journal that none of those in sync is a part of, was gone on from without them */
		x = NM; y = 0;
		for (i : 0 .. NF - 1) {
			if
			:: IS(sealed[g], i) && COUNTS(g, i) && !gaps[i] ->
				if
				:: pos[i] <= pos[src] && AT(i, pos[i]) == AT(src, pos[i]) -> y = 1
				:: else
				fi;
				if
				:: x == NM -> x = i
				:: x != NM ->
					if
					:: AT(i, pos[i]) > AT(x, pos[x]) || (AT(i, pos[i]) == AT(x, pos[x]) && pos[i] > pos[x]) -> x = i
					:: else
					fi
				fi
			:: else
			fi
		}
		if
		:: !y -> src = x
		:: else
		fi;
		x = 0; y = 0
	:: else
	fi;
	if
	:: n > 0 ->
		for (i : 0 .. NM - 1) {
			if
			:: COUNTS(g, i) && (!IS(sealed[g], i) || gaps[i] || (i >= NF && !(isj[i] && pos[i] + 1 >= vjs[g])) ||
					    pos[i] > pos[src] || AT(i, pos[i]) != AT(src, pos[i])) -> out = out | BIT(i)
			:: else
			fi
		}
#ifdef KEEP_JOURNAL
		out = out & FULL;
#endif
		if
		:: out == 0 -> ok = 1
		:: out != 0 && wt[g] == 2 && metag == g && cfg == ocfg[g] ->
			ok = 1;
			min_ = vin[g] & ~out; cfg++;
			if
			:: vj[g] == 2 && IS(out, vjm[g]) -> mj = 0; mjm = 0; mjs = 0
			:: else
			fi;
			look(g)
		:: else -> ok = 0
		fi
	:: n == 0 && src != NM && metag == g && cfg == ocfg[g] && HEADLESS(g) ->
		x = 0;
		for (i : 0 .. NF - 1) {
			if
			:: IS(sealed[g], i) -> y = AT(src, pos[i]); completes(g, i, pos[src]); x = x | ok
			:: else
			fi
		}
		ok = x; x = 0
	:: else -> ok = 0
	fi;
	if
	:: ok ->
		st[g] = EQUAL; head[g] = (n == 0);
		to[g] = pos[src]; nxt[g] = pos[src] + 1;
		strm[g] = 0;
		for (i : 0 .. NM - 1) {
			if
			:: COUNTS(g, i) && IS(sealed[g], i) && (n > 0 || i == src) && (!gaps[i]) ->
				strm[g] = strm[g] | BIT(i); DK(g, i) = pos[i]
			:: else
			fi
		}
		for (s : 1 .. L) { OG(g, s) = (s <= to[g] -> AT(src, s) : 0) }
		s = 0
	:: else
	fi;
	i = 0; n = 0; src = 0; out = 0; ok = 0;
	check()
}

#define THERE(g, m, s_) (!IS(strm[g], m) || (pos[m] >= (s_) && prom[m] == g))
#if NJ > 1
#define ALL_THERE(g, s_) (THERE(g, 0, s_) && THERE(g, 1, s_) && THERE(g, 2, s_) && THERE(g, 3, s_))
#else
#define ALL_THERE(g, s_) (THERE(g, 0, s_) && THERE(g, 1, s_) && THERE(g, 2, s_))
#endif

#define CAN_BEGIN(g) (st[g] == ACTIVE && vj[g] == 1 && IS(sealed[g], vjm[g]) && prom[vjm[g]] == g && !isj[vjm[g]] && \
		      !IS(strm[g], vjm[g]))
#ifdef FIRST_ANY
#define FIRST(g) (to[g])        /* also what lies before its generation */
#else
#define FIRST(g) (to[g] + 2)    /* behind its GEN_START */
#endif

#ifdef RECORD_EARLY
#define HAS_ALL(g) true
#else
#define HAS_ALL(g) (DK(g, vjm[g]) + 1 >= pj[g])
#endif

inline begin(g, j) {
	jj[g] = j;
	isj[vjm[g]] = 1; pos[vjm[g]] = jj[g] - 1; AT(vjm[g], jj[g] - 1) = OWN(g, jj[g] - 1); DK(g, vjm[g]) = jj[g] - 1;
	strm[g] = strm[g] | BIT(vjm[g])
}

inline owner(g) {
	if
	/* takeover */
	:: d_step { g > 1 && st[g] == 0 && metag + 1 == g -> st[g] = SEALING; metag = g; look(g) }
	:: d_step { wt[g] == 1 ->
		for (i : 1 .. NO) {
			if
			:: i < g -> ls[i] = ls[i] & ~old[i]; old[i] = 0
			:: else
			fi
		}
		i = 0; wt[g] = 2 }
	:: d_step { st[g] == SEALING && cfg == ocfg[g] -> decide(g) }
	:: d_step { (st[g] == EQUAL || st[g] == START) && metag == g ->         /* a copy was lost: again */
		st[g] = SEALING; sealed[g] = 0; strm[g] = 0; to[g] = 0; nxt[g] = 0;
		for (s : 0 .. L) { OG(g, s) = 0 }
		s = 0;
		for (i : 0 .. NM - 1) { DK(g, i) = 0 }
		i = 0 }
	:: d_step { st[g] == EQUAL && ALL_THERE(g, to[g]) ->
		st[g] = START;
		if
		:: OG(g, to[g]) == g -> skip                                    /* an earlier try of ours */
		:: else -> nxt[g] = to[g] + 2
		fi }
	:: d_step { st[g] == START && ALL_THERE(g, nxt[g] - 1) ->
		st[g] = ACTIVE; acked[g] = nxt[g] - 1; sealed[g] = 0;
		assert(must < nxt[g]);
		if
		:: !head[g] -> keep(g, acked[g])
		:: else
		fi;
		check() }
	/* writes */
	:: d_step { st[g] == ACTIVE && nw < NW && nxt[g] - acked[g] < 3 -> nw++; nxt[g]++ }
	:: d_step { st[g] == ACTIVE && acked[g] + 1 < nxt[g] ->
		ok = 1; s = acked[g] + 1;
		for (i : 0 .. NM - 1) {
			if
			:: IS(vin[g], i) && (DK(g, i) < s || !IS(strm[g], i)) -> ok = 0
#ifndef ACK_NO_JOURNAL
			:: vj[g] == 2 && vjm[g] == i && (DK(g, i) < s || !IS(strm[g], i)) -> ok = 0
#endif
#ifndef JOURNAL_LATE
			:: joinj[g] && vjm[g] == i && s >= pj[g] && DK(g, i) < s -> ok = 0
#endif
			:: joinx[g] && vsy[g] == i + 1 && s >= px[g] && DK(g, i) < s -> ok = 0
			:: else
			fi
		}
		s = 0; i = 0;
		if
		:: ok -> acked[g]++; keep(g, acked[g]); check()
		:: else
		fi;
		ok = 0 }
	/* a journal begins, at the oldest record that is still kept */
	:: d_step { CAN_BEGIN(g) -> begin(g, FIRST(g)) }
	:: d_step { CAN_BEGIN(g) && acked[g] + 1 > FIRST(g) -> begin(g, acked[g] + 1) }
	:: d_step { st[g] == ACTIVE && vj[g] == 1 && IS(strm[g], vjm[g]) && !joinj[g] -> joinj[g] = 1; pj[g] = nxt[g] }
	:: d_step { joinj[g] && st[g] == ACTIVE && !pend[g] && nch < CHANGES && HAS_ALL(g) -> ask(g, RECORD, 0, 0) }
	:: d_step { st[g] == ACTIVE && vj[g] && !pend[g] && nch < CHANGES && (vin[g] & strm[g]) != 0 -> ask(g, REMOVE, 0, 0) }
	fi
}

init {
	d_step {
		for (i : 0 .. NF - 1) { prom[i] = 1; pos[i] = 1; AT(i, 1) = 1; DK(1, i) = 1 }
		i = 0;
		st[1] = ACTIVE; vin[1] = FULL; ocfg[1] = 1; nxt[1] = 2; acked[1] = 1; strm[1] = FULL; ls[1] = ALL;
#if FIRST_ANY
		to[1] = 1; OG(1, 1) = 1;
#endif
		must = 1; hist[1] = 1
	}
	do
	:: d_step { mj == 0 && used < NJ && min_ != FULL -> mj = 1; mjm = NF + used; mjs = 0; used++; cfg++ }
	:: owner(1) :: record(1) :: pair(1, 0) :: pair(1, 1) :: pair(1, 2)
#if NJ > 1
	:: pair(1, 3)
#endif
#if NO > 1
	:: owner(2) :: record(2) :: pair(2, 0) :: pair(2, 1) :: pair(2, 2)
#if NJ > 1
	:: pair(2, 3)
#endif
#endif
#if NO > 2
	:: owner(3) :: record(3) :: pair(3, 0) :: pair(3, 1) :: pair(3, 2)
#if NJ > 1
	:: pair(3, 3)
#endif
#endif
	od
}
