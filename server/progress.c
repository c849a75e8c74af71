/* progress.c - see progress.h */
#include "progress.h"
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHOW_MS 250
#define WIDTH 80
#define BAR 20

void size_text(uint64_t bytes, char out[16])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	unsigned u = 0;
	for (; v >= 1000 && u < 6; u++)
		v /= 1024;
	snprintf(out, 16, u == 0 ? "%.0f %s" : v < 10 ? "%.2f %s" : v < 100 ? "%.1f %s" : "%.0f %s", v, units[u]);
}

void progress_begin(struct progress *p)
{
	*p = (struct progress){ .on = isatty(2) == 1 };
}

static int width(void)
{
	struct winsize w;
	return ioctl(2, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : WIDTH;
}

static void duration(uint64_t s, char *out, size_t n)
{
	if (s >= 3600)
		snprintf(out, n, "%llu:%02llu:%02llu", (unsigned long long)s / 3600, (unsigned long long)s / 60 % 60, (unsigned long long)s % 60);
	else
		snprintf(out, n, "%llu:%02llu", (unsigned long long)s / 60, (unsigned long long)s % 60);
}

void progress_show(struct progress *p, const char *what, uint64_t done, uint64_t total, uint64_t bytes, const char *tail, int64_t now)
{
	char line[512], bar[BAR + 1], a[16], r[16], eta[32] = "-:--";
	if (!p->on || (p->line && now - p->shown < SHOW_MS))
		return;
	if (p->last > 0 && now > p->last) {
		uint64_t rate = (bytes - p->bytes) * 1000 / (uint64_t)(now - p->last);
		p->rate = p->rate > 0 ? (p->rate + rate) / 2 : rate;
	}
	p->last = p->shown = now;
	p->bytes = bytes;
	size_text(bytes, a);
	size_text(p->rate, r);
	if (total == UINT64_MAX || total == 0) {
		snprintf(line, sizeof line, "%s  %s  %s/s  %s", what, a, r, tail);
	} else {
		unsigned full = (unsigned)((double)done / (double)total * BAR);
		memset(bar, ' ', BAR);
		memset(bar, '=', full < BAR ? full : BAR);
		if (full < BAR)
			bar[full] = '>';
		bar[BAR] = 0;
		if (done == bytes && p->rate > 0)
			duration((total - done) / p->rate, eta, sizeof eta);
		snprintf(line, sizeof line, "%s %3.0f%% [%s] %s  %s/s  ETA %s  %s", what, (double)done * 100 / (double)total, bar, a, r, done == bytes ? eta : "", tail);
	}
	int w = width() - 1;
	fprintf(stderr, "\r%-*.*s", w, w, line);
	fflush(stderr);
	p->line = true;
}

void progress_clear(struct progress *p)
{
	if (p->line)
		fprintf(stderr, "\r%*s\r", width() - 1, "");
	p->line = false;
}
