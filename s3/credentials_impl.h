/* credentials_impl.h - what credentials.c (who has them, and when they are renewed; settings, environment, files) and credentials_remote.c
 * (STS, container, EC2) share. Nobody else includes this. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "../common/arena.h"
#include "../common/clock.h"
#include "../common/err.h"
#include "credentials.h"

/* The environment as it was at the start. */
#define CREDENTIALS_ENV(X) X(AWS_ACCESS_KEY_ID) X(AWS_SECRET_ACCESS_KEY) X(AWS_SESSION_TOKEN) X(AWS_PROFILE) \
	X(AWS_SHARED_CREDENTIALS_FILE) X(AWS_CONFIG_FILE) X(AWS_WEB_IDENTITY_TOKEN_FILE) X(AWS_ROLE_ARN) X(AWS_ROLE_SESSION_NAME) \
	X(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI) X(AWS_CONTAINER_CREDENTIALS_FULL_URI) X(AWS_CONTAINER_AUTHORIZATION_TOKEN) \
	X(AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE) X(AWS_EC2_METADATA_DISABLED)
enum {
#define X(name) name,
	CREDENTIALS_ENV(X)
#undef X
	CREDENTIALS_ENVS
};

struct found {
	struct keys keys;
	int64_t expires;     /* wall, ms; NEVER */
};

struct credentials {
	struct credentials_options o; /* strings in the arena; "" for none */
	struct arena arena;
	char *env[CREDENTIALS_ENVS];  /* "" for what is not set */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct found found;
	bool have, looking, doubted;
	int64_t next_look, next_doubt;/* mono */
	char why[256];                /* there are none */
	_Atomic int source;           /* index of the last that had some, -1 */
};

/* 0: here they are. SOURCE_NONE: it is not configured. SOURCE_FAILED: it is, and why says what is wrong. */
enum { SOURCE_NONE = 1, SOURCE_FAILED = 2 };
typedef int source_f(struct credentials *, struct found *, char *why, size_t size);
source_f source_web_identity, source_container, source_ec2;
int source_fail(char *why, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4))); /* SOURCE_FAILED */
/* Copied; false when it does not fit, is empty, or has what cannot stand in a header field. */
bool keys_set(struct keys *, struct str access_key, struct str secret_key, struct str session_token);
