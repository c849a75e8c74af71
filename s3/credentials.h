/* credentials.h - who we are for S3, in the usual order: settings; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; web identity
 * (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN: STS); the shared credentials file ([profile] of AWS_SHARED_CREDENTIALS_FILE or
 * ~/.aws/credentials); the container's endpoint (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, with its authorization token);
 * EC2's IMDSv2. A source that is configured and fails ends the search, so that nobody becomes somebody else by accident; the next search
 * begins CREDENTIALS_RETRY later. What ends is renewed before it does (CREDENTIALS_AHEAD), by one thread while
 * others go on with what they have. Thread-safe; one a process, made after fork. Secrets are wiped when they are replaced, and never logged.
 * The file's profile may also be in AWS_CONFIG_FILE or ~/.aws/config ([profile x], keys only: no roles, no credential_process, no SSO). */
#pragma once
#include "../common/httpc.h"

#define CREDENTIALS_AHEAD_MS (5 * 60 * 1000)
#define CREDENTIALS_RETRY_MS (10 * 1000)

struct credentials_options {
	struct httpc *httpc;          /* for STS, container and EC2; outlives it */
	const char *access_key, *secret_key, *session_token; /* settings; "" none */
	const char *profile;          /* "": AWS_PROFILE, else default */
	const char *region;           /* for STS */
	const char *home;             /* where .aws is; "" none */
	const char *imds;             /* base URL of EC2's metadata; NULL: http://169.254.169.254 (AWS_EC2_METADATA_DISABLED=true: never) */
	const char *sts;              /* base URL; NULL: AWS's for the region */
	const char *container;        /* base URL that AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is relative to; NULL: http://169.254.170.2 */
};
struct credentials;
struct credentials *credentials_new(const struct credentials_options *);
void credentials_free(struct credentials **);
struct keys { char access_key[160], secret_key[160], session_token[4096]; }; /* session_token "": none */
/* 0; -ERR_S3_DENIED: there are none (problem says which sources were looked at). May block while it asks for the first time. */
int credentials_get(struct credentials *, struct keys *, char problem[256]);
/* S3 said that what we have is expired or wrong: the next get looks anew (at most once in CREDENTIALS_RETRY). */
void credentials_doubt(struct credentials *);
const char *credentials_source(const struct credentials *); /* "settings", "environment", ...; "none": for health and the log */
