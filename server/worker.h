/* worker.h - a worker process: what its handler threads share. Made after fork, never changed afterwards but where a lock says so. */
#pragma once
#include <openssl/ssl.h>
#include <pthread.h>
#include "../certgen/certgen.h"
#include "../common/httpc.h"
#include "../es/metadata.h"
#include "../policy/judge.h"
#include "../policy/rules.h"
#include "../policy/s3host.h"
#include "../s3/object.h"
#include "../s3/refill.h"
#include "conn.h"
#include "heritage.h"
#include "pool.h"
#include "tunnel.h"

struct worker {
	unsigned index, place;           /* which worker; which row of scoreboard and counters */
	bool shared_documents;           /* other nodes, perhaps of the old system, write documents too (Elasticsearch) */
	bool siblings;                   /* there are other workers */
	struct pool *pool;
	SSL_CTX *tls;
	struct httpc *httpc;
	struct metadata *metadata;
	struct chunks *chunks;
	struct s3host s3_host;           /* what needs no proxy */
	struct fleet fleet;              /* S3 and Elasticsearch; all NULL: a node on its own */
	struct spool *spool;             /* NULL: the same, or it cannot be had: nothing is stored */
	struct refill *refill;           /* NULL: the same */
	struct certgen_client *certgen;
	struct tunnels *tunnels;
	struct auth *auth;
	struct ruleset *_Atomic rules;   /* replaced by SIGHUP, when they have changed; old ones are kept, for a request may still hold one */
	struct conn *conns;              /* the first LISTEN_MAX are the listening sockets */
	unsigned conns_n;
	_Atomic unsigned conns_high;     /* slots above it were never used */
	pthread_mutex_t lock;
	struct conn *free;               /* under lock */
	_Atomic uint64_t parked;         /* connections, when they were last looked through */
	_Atomic unsigned open, background, probes;
	_Atomic bool blind;              /* the last lookup found no database: health says so until one succeeds */
	int64_t accept_said;             /* mono; the polling thread's: when it was last said that accepting fails */
	int drain_stage;                 /* the tick's own: 0 serving, 1 draining */
	int64_t drain_deadline;
};

#define THREAD_BUFFER (64 * 1024)    /* heads are read and small responses put together in it: four TLS records */
#define BACKGROUND_MAX 64            /* revalidations nobody waits for, at a time: they may not crowd out clients */


/* What belongs to a handler thread. */
struct thread {
	unsigned number;
	struct request *spare;       /* kept for the next request, with its arena */
	struct score_thread *score;  /* NULL when there are more threads than places */
	uint64_t random[4];
	char in[THREAD_BUFFER], out[THREAD_BUFFER];
};
extern _Thread_local struct thread *thread_self;
void request_id_new(char out[37]);   /* a UUID4 in text; not for secrets */

#define HEURISTIC_PERCENT 10         /* of the time since Last-Modified (RFC 9111 4.2.2) */
#define HEURISTIC_MAX_S 86400        /* … but a day at most: nobody said that it stays as it is */
struct judge_options judge_settings(const struct settings *);
