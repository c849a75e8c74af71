# make fuzz [FUZZ_RUNS=20000] [FUZZ_SECONDS=60] [FUZZ='http1 url']: each t/fuzz/*.c under libFuzzer, from t/fuzz/corpus/NAME (t/fuzz/README.md).
# All is built apart, by clang with its sanitizers, into build/fuzz.
FUZZ_CC ?= clang
FUZZ_RUNS ?= 20000
FUZZ_SECONDS ?= 60
FUZZ ?= $(patsubst t/fuzz/%.c,%,$(wildcard t/fuzz/*.c))
FB := build/fuzz
# pointer-overflow would complain of NULL + 0, which an empty struct str is made of: gcc and C2y (N3322) have nothing against it.
FUZZ_CFLAGS = -std=c11 -g -O1 -D_GNU_SOURCE -DHAVE_CONFIG_H -I. -include config.h -include common/banned.h -pthread -fno-omit-frame-pointer \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=pointer-overflow -fno-sanitize-recover=undefined $(DEP_CFLAGS)
# One archive of all folders: what a target uses is linked, the rest is not.
FUZZ_OBJS := $(patsubst %.c,$(FB)/%.o,$(filter-out server/main.c,$(wildcard $(addsuffix /*.c,$(FOLDERS) server))))

$(FB)/%.o: %.c config.h | config.mk
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<
$(FB)/all.a: $(FUZZ_OBJS)
	@rm -f $@
	@$(AR) rcs $@ $^
$(FB)/bin/%: $(FB)/t/fuzz/%.o $(FB)/all.a
	@mkdir -p $(@D)
	$(FUZZ_CC) -pthread -fsanitize=fuzzer,address,undefined -o $@ $^ $(ALL_DEPLIBS)
.SECONDARY: $(patsubst %,$(FB)/t/fuzz/%.o,$(FUZZ))

fuzz: $(patsubst %,$(FB)/bin/%,$(FUZZ))
	@mkdir -p $(FB)/found; dict=; [ ! -f t/fuzz/http.dict ] || dict=-dict=t/fuzz/http.dict; bad=; for t in $(FUZZ); do \
		mkdir -p $(FB)/corpus/$$t; seeds=t/fuzz/corpus/$$t; [ -d $$seeds ] || seeds=; \
		if $(FB)/bin/$$t -runs=$(FUZZ_RUNS) -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=5 -rss_limit_mb=1024 \
			-artifact_prefix=$(FB)/found/$$t- -print_final_stats=1 $$dict $(FB)/corpus/$$t $$seeds >$(FB)/$$t.log 2>&1; \
		then echo "ok - $$t: $$(sed -n 's/^stat::number_of_executed_units: *//p' $(FB)/$$t.log) inputs"; \
		else bad="$$bad $$t"; echo "not ok - $$t: see $(FB)/$$t.log"; tail -n 40 $(FB)/$$t.log | sed 's/^/# /'; fi; \
	done; [ -z "$$bad" ] || { echo "# failed:$$bad"; exit 1; }

-include $(shell find $(FB) -name '*.d' 2>/dev/null)
