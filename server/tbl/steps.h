/* A request's way: forward only, and each step says where it may go. STEP(name, legal successors, text)
 * The loop in request.c is the only place that moves it; each step is step_<name>.c or a part of the file that its text names. */
STEP(route,   TO(plan) | TO(tunnel) | TO(deliver),                 "our own pages, tunnels, loops, Max-Forwards, PURGE; or a request to answer")
STEP(plan,    TO(lookup) | TO(pass) | TO(deliver),                 "rules: policy, timeouts, cache key")
STEP(lookup,  TO(judge) | TO(pass) | TO(deliver),                  "metadata of what is stored, the variant selected")
STEP(judge,   TO(open) | TO(obtain) | TO(pass) | TO(deliver),      "the verdict on it (policy/judge.h)")
STEP(open,    TO(obtain) | TO(deliver),                            "stored chunks as an object")
STEP(obtain,  TO(answer) | TO(deliver),                            "start or join a fill (fetch.c), or ask for oneself")
STEP(answer,  TO(deliver),                                         "the origin's head: store, renew what is stored, serve stale, or relay; a request rests until it is there")
STEP(pass,    TO(tunnel) | TO(deliver),                            "the origin's answer, neither looked up nor stored; request bodies")
STEP(tunnel,  TO(deliver) | TO(record),                            "CONNECT, blind tunnels, upgrades: bytes both ways")
STEP(deliver, TO(record),                                          "the head and the body to the client; ranges, 304, error pages")
STEP(record,  0,                                                   "one access record, the counters")
#undef STEP
