/* httpdate.h - HTTP dates (RFC 9110 5.6.7): all three forms are read, IMF-fixdate is written. Pure, locale-free. */
#pragma once
#include "str.h"
#define HTTPDATE_NONE INT64_MIN
int64_t httpdate_parse(struct str, int64_t now); /* seconds since the epoch, or HTTPDATE_NONE; now settles two-digit years */
#define HTTPDATE_SIZE 30
void httpdate_format(int64_t seconds, char out[HTTPDATE_SIZE]);
int64_t iso8601_parse(struct str);               /* milliseconds; "2026-01-31T12:00:00.123456+00:00", "…Z", no zone: UTC; or HTTPDATE_NONE */
void iso8601_format(int64_t ms, char out[33]);   /* "2026-01-31T12:00:00.123000+00:00" */
