# install: programs, manuals, units, examples below $(DESTDIR)$(PREFIX)
#
#   make install                        into /usr/local
#   make install DESTDIR=/tmp/x PREFIX=/usr        for a package
#
# Configuration (/etc/sluis), state and users are made by tmpfiles.d and sysusers.d, never by install.

bindir := $(PREFIX)/bin
sbindir := $(PREFIX)/sbin
libexecdir := $(PREFIX)/lib/sluis
datadir := $(PREFIX)/share/sluis
docdir := $(PREFIX)/share/doc/sluis
mandir := $(PREFIX)/share/man
unitdir := $(PREFIX)/lib/systemd/system
D := $(DESTDIR)

INSTALL_SBIN := $(filter %/sluisd %/sluis-agent,$(BINS))
INSTALL_BIN := $(filter %/sluisctl %/sluis-sim,$(BINS))
INSTALL_LIBEXEC := $(filter %/sluis-shim %/sluis-execd,$(BINS))
MANUALS = $(shell find proto daemon agent ctl systemd -name '*.[158]')
UNITS := $(wildcard systemd/*.in)
DOCS := $(wildcard README.md ARCHITECTURE.md HACKING.md CHANGES.md LICENSE proto/PROTOCOL.md daemon/store/FORMAT.md)
EXAMPLES := $(wildcard systemd/*.conf.example demo/division.yaml demo/train.py demo/serve.py)
TOPOLOGIES := $(wildcard demo/topologies/*)

install: $(BINS) ## install below $(DESTDIR)$(PREFIX)
	install -d "$(D)$(sbindir)" "$(D)$(bindir)" "$(D)$(libexecdir)" "$(D)$(unitdir)" "$(D)$(docdir)" \
		"$(D)$(datadir)/examples" "$(D)$(PREFIX)/lib/sysusers.d" "$(D)$(PREFIX)/lib/tmpfiles.d"
	$(if $(INSTALL_SBIN),install -m 755 $(INSTALL_SBIN) "$(D)$(sbindir)/")
	$(if $(INSTALL_BIN),install -m 755 $(INSTALL_BIN) "$(D)$(bindir)/")
	$(if $(INSTALL_LIBEXEC),install -m 755 $(INSTALL_LIBEXEC) "$(D)$(libexecdir)/")
	for m in $(MANUALS); do install -D -m 644 $$m "$(D)$(mandir)/man$${m##*.}/$${m##*/}" || exit 1; done
	for u in $(UNITS); do n=$${u##*/}; sed -e 's#@sbindir@#$(sbindir)#g' -e 's#@bindir@#$(bindir)#g' -e 's#@libexecdir@#$(libexecdir)#g' $$u \
		> "$(D)$(unitdir)/$${n%.in}" && chmod 644 "$(D)$(unitdir)/$${n%.in}" || exit 1; done
	install -m 644 systemd/sluis.sysusers "$(D)$(PREFIX)/lib/sysusers.d/sluis.conf"
	install -m 644 systemd/sluis.tmpfiles "$(D)$(PREFIX)/lib/tmpfiles.d/sluis.conf"
	$(if $(DOCS),install -m 644 $(DOCS) "$(D)$(docdir)/")
	$(if $(EXAMPLES),install -m 644 $(EXAMPLES) "$(D)$(datadir)/examples/")
	$(if $(TOPOLOGIES),install -d "$(D)$(datadir)/topologies" && install -m 644 $(TOPOLOGIES) "$(D)$(datadir)/topologies/")
.PHONY: install
