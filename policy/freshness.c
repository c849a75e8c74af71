/* freshness.c - RFC 9111 4.2. */
#include "freshness.h"
#include "targeted.h"
#include "../common/httpdate.h"

#define IS(word) str_caseeq(f->name, STR(word))
#define FIRST(slot) do { if (!(slot).p) (slot) = f->value; } while (0)
void
facts_of(const struct headers *h, struct facts *x)
{
	*x = (struct facts){ .control = STR("cache-control") };
	cc_init(&x->cc);
	for (const struct field *f = h->v, *end = h->v + h->n; f < end; f++) {
		switch (f->name.n) {
		case 3:
			if (IS("age"))
				FIRST(x->age);
			break;
		case 4:
			if (IS("date"))
				FIRST(x->date);
			else if (IS("etag"))
				FIRST(x->etag);
			break;
		case 7:
			if (IS("expires"))
				FIRST(x->expires);
			break;
		case 10:
			x->set_cookie = x->set_cookie || IS("set-cookie");
			break;
		case 13:
			if (IS("cache-control"))
				cc_add(&x->cc, f->value);
			else if (IS("last-modified"))
				FIRST(x->last_modified);
			break;
		}
	}
}

void
facts_rule(struct facts *x, const struct plan *plan)
{
	x->refresh = plan ? plan->refresh : NULL;
	if (x->refresh && x->refresh->ignore_no_store)
		x->cc.bits &= ~(CC_NO_STORE | CC_PRIVATE | CC_NO_CACHE);
}

void
facts_for(const struct judge_options *o, const struct headers *h, struct facts *x)
{
	struct cache_control cc;
	struct str control;
	facts_of(h, x);
	if (o->targeted && targeted_parse(h, &cc, &control)) {
		x->cc = cc;
		x->control = control;
		x->expires = STR_NONE;
	}
}

bool
status_heuristic(int64_t status)
{
	switch (status) {
	case 200: case 203: case 204: case 206: case 300: case 301: case 308: case 404: case 405: case 410: case 414: case 501:
		return true;
	}
	return false;
}

int64_t
freshness_date(const struct facts *x, int64_t received)
{
	int64_t date = x->date.p ? httpdate_parse(x->date, received) : HTTPDATE_NONE;
	return date == HTTPDATE_NONE ? received : date;
}

/* 5.1: the first member of the first line; what is no number is ignored. */
int64_t
freshness_age_value(const struct facts *x)
{
	struct str rest = x->age;
	int64_t age;
	return x->age.p && delta_parse(str_trim(str_cut(&rest, ',')), &age) ? age : 0;
}

/* A refresh pattern comes before what the origin says (behaviour.md 5.3), but is no word on errors. Our choice: Last-Modified counts
 * from Date, as in 4.2.2, not from now: a lifetime that grows while the response ages says nothing. */
static int64_t
refresh_lifetime(const struct refresh *r, const struct facts *x, int64_t date, int64_t received)
{
	int64_t modified = x->last_modified.p ? httpdate_parse(x->last_modified, received) : HTTPDATE_NONE, ttl = r->min_s;
	if (modified != HTTPDATE_NONE && date > modified)
		ttl += (date - modified) / 100 * r->percent + (date - modified) % 100 * r->percent / 100;
	return r->max_s > 0 && ttl > r->max_s ? r->max_s : ttl;
}

static int64_t
lifetime_said(const struct judge_options *o, int64_t status, const struct facts *x, int64_t date, int64_t received, bool *is_explicit)
{
	const struct cache_control *cc = &x->cc;
	*is_explicit = true;
	/* 4.2.1: what cannot be read counts as stale, rather than as not said. */
	if (o->shared && cc->s_maxage != CC_ABSENT)
		return cc->s_maxage == CC_INVALID ? 0 : cc->s_maxage;
	if (cc->max_age != CC_ABSENT)
		return cc->max_age == CC_INVALID ? 0 : cc->max_age;
	if (x->expires.p) {
		int64_t expires = httpdate_parse(x->expires, received);
		return expires == HTTPDATE_NONE || expires <= date ? 0 : expires - date; /* 5.3 */
	}
	*is_explicit = false;
	/* 4.2.2. Our choice: a response that sets a cookie is made for one client often enough that we reuse it only when its origin
	 * says for how long. */
	if (!(status_heuristic(status) || (cc->bits & CC_PUBLIC)) || x->set_cookie || !x->last_modified.p)
		return -1;
	int64_t modified = httpdate_parse(x->last_modified, received), guess;
	if (modified == HTTPDATE_NONE)
		return -1;
	guess = date > modified ? (date - modified) / 100 * o->heuristic_percent + (date - modified) % 100 * o->heuristic_percent / 100 : 0;
	return guess < o->heuristic_max_s ? guess : o->heuristic_max_s;
}

int64_t
freshness_lifetime(const struct judge_options *o, int64_t status, const struct facts *x, int64_t date, int64_t received, bool *is_explicit)
{
	int64_t said = lifetime_said(o, status, x, date, received, is_explicit);
	return x->refresh && status < 400 ? refresh_lifetime(x->refresh, x, date, received) : said;
}

/* Documents come from other nodes too: numbers beyond the year 9999 count as not there, so that no arithmetic on them overflows. */
#define SECOND_MAX INT64_C(253402300799)

int64_t
freshness_origin(const struct meta *m)
{
	return m->date > 0 && m->date <= SECOND_MAX ? m->date : freshness_received(m) / 1000;
}

/* A document whose stored_at is later than what we wrote with it was validated since, by a node of the older version. */
int64_t
freshness_received(const struct meta *m)
{
	int64_t received = m->response_time > m->stored_at ? m->response_time : m->stored_at;
	return received > 0 && received / 1000 <= SECOND_MAX ? received : 0;
}

int64_t
judge_age(const struct meta *m, int64_t now)
{
	int64_t received = freshness_received(m), apparent = 0, corrected = 0, resident;
	if (!received)
		return INT32_MAX; /* nobody knows: very old */
	if (received == m->response_time) {
		if (received / 1000 > freshness_origin(m))
			apparent = (received / 1000 - freshness_origin(m)) * 1000;
		corrected = m->age_value < 0 ? 0 : m->age_value > DELTA_MAX ? DELTA_MAX * 1000 : m->age_value * 1000;
		if (m->request_time > 0 && m->response_time > m->request_time)
			corrected += m->response_time - m->request_time;
	}
	resident = now > received ? now - received : 0;
	return ((apparent > corrected ? apparent : corrected) + resident) / 1000;
}

int64_t
judge_lifetime(const struct judge_options *o, const struct plan *plan, const struct meta *m)
{
	struct facts x;
	bool is_explicit;
	int64_t received = freshness_received(m) / 1000;
	facts_for(o, &m->headers, &x);
	facts_rule(&x, plan);
	return freshness_lifetime(o, m->status, &x, freshness_origin(m), received, &is_explicit);
}
