# One static library a folder, so that a wrong dependency does not link; unit tests link what their folder may use.
#   make                        ./passsage
#   make SAN=address,undefined  the same under sanitizers, in a build folder of its own
#   make check                  all tests (t/*.t and t/unit/*.c) through prove;  make check T='t/30-*.t'
#   make fuzz, make bench, make install DESTDIR=, make deb, make clean, make distclean

SAN ?=
comma := ,
B := build/$(if $(SAN),$(subst $(comma),-,$(SAN)),plain)
BIN := $(if $(SAN),$(B)/passsage,passsage)

FOLDERS := common policy es s3 certgen
all: $(BIN)

ifeq ($(filter clean distclean,$(MAKECMDGOALS)),)
-include config.mk
endif

configure: configure.ac
	autoconf
config.h.in: configure.ac
	autoheader
	touch $@
config.status: configure config.h.in
	./configure $(CONFIGURE_FLAGS)
config.mk: config.mk.in config.status
	./config.status config.mk && touch $@
config.h: config.h.in config.status
	./config.status config.h && touch $@

ALL_CFLAGS = -std=c11 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings -Wno-unused-parameter $(WERROR) \
	-D_GNU_SOURCE -DHAVE_CONFIG_H -I. -include config.h -include common/banned.h -pthread -fno-omit-frame-pointer -fstack-protector-strong \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=undefined,) $(DEP_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pthread -rdynamic -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN),) $(LDFLAGS)

objects = $(patsubst %.c,$(B)/%.o,$(wildcard $(1)/*.c))
libs_of = $(B)/lib$(1).a $(if $(filter common,$(1)),,$(B)/libcommon.a)
ALL_LIBS := $(foreach f,certgen policy es s3 common,$(B)/lib$(f).a)
ALL_DEPLIBS = $(server_LIBS) $(policy_LIBS) $(es_LIBS) $(s3_LIBS) $(certgen_LIBS) $(common_LIBS) -lm

$(B)/%.o: %.c config.h | config.mk
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

define folder
$(B)/lib$(1).a: $$(call objects,$(1))
	@rm -f $$@
	$$(AR) rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call folder,$(f))))

# server has a library too, so that its pure parts have unit tests; the program is main.o and all of them
SERVER_OBJS := $(call objects,server)
$(B)/libserver.a: $(filter-out $(B)/server/main.o,$(SERVER_OBJS))
	@rm -f $@
	$(AR) rcs $@ $^
$(BIN): $(B)/server/main.o $(B)/libserver.a $(ALL_LIBS)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_DEPLIBS)

# t/unit/FOLDER_what.c links lib FOLDER and libcommon, and nothing else
UNIT := $(patsubst %.c,$(B)/%,$(wildcard t/unit/*.c))
unit_folder = $(firstword $(subst _, ,$(notdir $(1))))
define unit
$(1): $(1).o $(if $(filter server,$(call unit_folder,$(1))),$(B)/libserver.a $(ALL_LIBS),$(call libs_of,$(call unit_folder,$(1))))
	$$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $(if $(filter server,$(call unit_folder,$(1))),$$(ALL_DEPLIBS),$$($(call unit_folder,$(1))_LIBS) $$(common_LIBS) -lm)
endef
$(foreach u,$(UNIT),$(eval $(call unit,$(u))))

# T: which tests; JOBS: how many files at a time; PROVE_FLAGS: -v, --timer, ...
T ?= $(wildcard t/*.t)
JOBS ?= 2
check: $(BIN) $(UNIT)
	PASSSAGE=$(abspath $(BIN)) UNIT_DIR=$(abspath $(B))/t/unit SAN=$(SAN) prove -j $(JOBS) $(PROVE_FLAGS) $(T)
unit: $(UNIT)
	UNIT_DIR=$(abspath $(B))/t/unit SAN=$(SAN) prove t/00-unit.t

# our figures and Squid's side by side: t/bench/README.md (RUNS, DUR, SCENARIOS from the environment)
bench: $(BIN)
	PASSSAGE=$(abspath $(BIN)) t/bench/run

INSTALL ?= install
unitdir ?= $(prefix)/lib/systemd/system
put = $(INSTALL) -D -m $(2) $(1) $(DESTDIR)$(3)
# the same, with our places in it
put_edited = $(call put,$(1),$(2),$(3)) && sed -i -e 's,/usr/sbin/passsage,$(sbindir)/passsage,g' \
	-e 's,/etc/\(passsage\|default\|init\.d\),$(sysconfdir)/\1,g' $(DESTDIR)$(3)
conf = $(DESTDIR)$(sysconfdir)/passsage/passsage.conf
# an existing configuration is the operator's: the new sample is put beside it. SIGHUP reads it as the proxy's user: whoever writes
# secrets into it makes it that group's (chgrp passsage, chmod 640), which is done here when there is such a group
install: $(BIN)
	$(call put,$(BIN),755,$(sbindir)/passsage)
	$(call put,etc/passsage.8,644,$(mandir)/man8/passsage.8)
	$(call put,etc/passsage.conf.sample,644,$(sysconfdir)/passsage/passsage.conf.sample)
	$(call put,etc/passsage.policy.sample,644,$(sysconfdir)/passsage/passsage.policy.sample)
	$(call put,etc/passsage.policy.lua.sample,644,$(sysconfdir)/passsage/passsage.policy.lua.sample)
	test -e $(conf) || $(call put,etc/passsage.conf.sample,644,$(sysconfdir)/passsage/passsage.conf)
	test -n '$(DESTDIR)' || ! getent group passsage >/dev/null || { chgrp passsage $(conf) && chmod 640 $(conf); }
	$(call put_edited,etc/passsage.service,644,$(unitdir)/passsage.service)
	$(call put_edited,etc/passsage.init,755,$(sysconfdir)/init.d/passsage)
	$(call put_edited,etc/passsage.logrotate,644,$(sysconfdir)/logrotate.d/passsage)
	test -e $(DESTDIR)$(sysconfdir)/default/passsage || { $(call put_edited,etc/passsage.default,644,$(sysconfdir)/default/passsage); }

# build/deb/passsage_VERSION_ARCH.deb, of what is here now
deb:
	rm -rf build/deb
	mkdir -p build/deb/passsage
	tar -c --exclude=./build --exclude=./.git . | tar -x -C build/deb/passsage
	cp -r etc/debian build/deb/passsage/debian
	cd build/deb/passsage && dpkg-buildpackage -us -uc -b

-include t/fuzz/fuzz.mk

-include $(shell find $(B) -name '*.d' 2>/dev/null)

clean:
	rm -rf build passsage
distclean: clean
	rm -rf config.h config.h.in config.mk config.log config.status configure configure~ config.h.in~ autom4te.cache
.PHONY: all check unit clean distclean fuzz bench install deb
.DELETE_ON_ERROR:
