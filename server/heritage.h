/* heritage.h - the complete list of what a child inherits from the master: descriptors, shared memory, what was made at start.
 * Nothing else crosses fork; LMDB, libcurl, OpenSSL contexts and threads are made afterwards, in the child. */
#pragma once
#include <signal.h>
#include <sys/types.h>
#include "../certgen/certgen.h"
#include "../common/counters.h"
#include "../common/settings.h"
#include "../common/shm.h"
#include "../s3/fill.h"
#include "bans.h"
#include "fleet.h"
#include "scoreboard.h"

#define LISTEN_MAX 16        /* addresses that --bind may name */
#define TICKET_KEYS 3        /* the one that is given out, and the last two that are still read */

struct ticket_key { uint8_t name[16], aes[32], hmac[32]; };

/* Everything that is shared between processes stands here, and nothing else is shared. */
struct shared {
	struct counters *counters;
	struct scoreboard *scoreboard;
	struct fill_table *fills;
	struct certstore *certs;
	struct bans *bans;
	struct fleet_state *fleet;
	struct state {
		int64_t started;              /* wall, ms */
		_Atomic int draining;         /* SIGTERM was seen */
		struct shm_lock tickets_lock;
		struct ticket_key tickets[TICKET_KEYS];
		_Atomic uint32_t store_bad, meta_bad; /* set by whoever sees it, shown by health; cleared by the next success */
		_Atomic uint64_t store_bytes, store_files, store_disk_percent; /* the janitor's last look */
		_Atomic int64_t unclean_since; /* ms; chunks younger than this at start are verified before use. 0: clean */
	} *state;
};

struct heritage {
	unsigned place;             /* the child's row of the scoreboard and the counters */
	int listen_fd[LISTEN_MAX];
	unsigned listen_n, port;
	int health_fd;              /* -1 none */
	int ca_fd;                  /* the file with the CA's PEM: certgen's alone, closed in every other child */
	int ca_cert_fd;             /* the one with its certificates, likewise: its folder may be root's; -1 none */
	int certgen_ask, certgen_answer; /* a socket pair: workers hold the first, certgen the second */
	int lifeline;               /* read end of a pipe whose other end only the master has: end of file means that it is gone */
	struct str ca_pem, ca_der, ca_p12; /* the public ones, for onboarding */
	char hostname[256], via[360]; /* "1.1 host (passsage/1.0.0)" */
	char via_name[300];           /* received-by of our own Via, by which loops are seen */
	struct ruleset *rules;        /* as the policy file was when it was last good; a worker makes its own at SIGHUP */
	struct htpasswd *users;       /* likewise of the file of users; NULL: nobody must say who he is */
	struct shared shared;
};
extern struct heritage heritage; /* written by the master before it forks */

/* A child's life: its main gets its number and returns its exit status. stopping is set by SIGTERM (1: drain) and SIGQUIT (2: at once). */
typedef int proc_main_f(unsigned index);
extern _Atomic int stopping, reload_wanted, dump_wanted; /* lock-free: handlers may write what other threads read (C11 7.14.1.1) */
void signal_wakes(int fd);      /* an eventfd that signals write to */
bool master_gone(void);        /* the lifeline's end: the child should leave */

#define PROC(kind, title, main, many, identity, text) proc_main_f main;
#include "tbl/procs.h"
