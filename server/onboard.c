/* onboard.c - see onboard.h. First the script, then the index page, both from tables of text with {names} in them; then who gets what. */
#include <string.h>

#include "../common/hash.h"
#include "onboard.h"

/* The script is sourced into the shells of strangers (POSIX sh, dash, bash, ash, ksh, zsh; with -e, -u, -C and aliases), and piped into sh.
 * So: whatever can fail or needs options of its own runs in a subshell; nothing calls exit outside one; all is in functions, which makes
 * a download that breaks off do nothing; no name is left behind; and explanations are arguments of ":", for zsh takes a # in eval "$(…)"
 * for a command. Values come quoted from us (quote()), and are quoted again into the file that it leaves. */
static const char script[] =
	": 'passsage: sets this shell up for a caching proxy and trusts its certificate. Read it, then source it:'\n"
	": '    . ./proxy-env.sh [--no-certificate]       (PASSSAGE_NO_CERTIFICATE=1 means the same)'\n"
	": 'Piped into sh it does the same, and ~/.passsage/proxy-env.sh, which it leaves, can be sourced by other shells.'\n"
	"\n"
	"_passsage_say() { printf 'passsage: %s\\n' \"$1\" >&2; }\n"
	"\n"
	"_passsage_root() {\n"
	"	if [ \"$(id -u)\" = 0 ]; then\n"
	"		command \"$@\" </dev/null >&2\n"
	"	elif command -v sudo >/dev/null 2>&1; then\n"
	"		command sudo \"$@\" </dev/null >&2\n"
	"	else\n"
	"		return 1\n"
	"	fi\n"
	"}\n"
	"\n"
	": 'Is the certificate in this file? One line of its signature says so.'\n"
	"_passsage_has() { command grep -qF -e \"$_passsage_mark\" \"$1\" 2>/dev/null; }\n"
	"\n"
	"_passsage_system_bundle() {\n"
	"	for _passsage_word in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \\\n"
	"		/etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do\n"
	"		if [ -f \"$_passsage_word\" ]; then\n"
	"			printf '%s\\n' \"$_passsage_word\"\n"
	"			return 0\n"
	"		fi\n"
	"	done\n"
	"	return 1\n"
	"}\n"
	"\n"
	": 'Adds the certificate to what the system trusts. Runs in a subshell only: the trap is its own.'\n"
	"_passsage_install() {\n"
	"	_passsage_file=$(command mktemp \"${TMPDIR:-/tmp}/mitmproxy-ca-XXXXXX\") || return 1\n"
	"	trap 'command rm -f \"$_passsage_file\"' EXIT\n"
	"	trap 'exit 130' HUP INT TERM\n"
	"	printf '%s\\n' \"$_passsage_pem\" >\"$_passsage_file\" && command chmod 644 \"$_passsage_file\" || return 1\n"
	"	case $(uname -s) in\n"
	"	Linux)\n"
	"		if command -v update-ca-certificates >/dev/null 2>&1; then\n"
	"			_passsage_root mkdir -p /usr/local/share/ca-certificates &&\n"
	"			_passsage_root cp \"$_passsage_file\" /usr/local/share/ca-certificates/mitmproxy-ca-cert.crt &&\n"
	"			_passsage_root update-ca-certificates\n"
	"		elif command -v update-ca-trust >/dev/null 2>&1; then\n"
	"			_passsage_root cp \"$_passsage_file\" /etc/pki/ca-trust/source/anchors/mitmproxy-ca-cert.crt &&\n"
	"			_passsage_root update-ca-trust\n"
	"		elif command -v trust >/dev/null 2>&1; then\n"
	"			_passsage_root trust anchor \"$_passsage_file\"\n"
	"		else\n"
	"			_passsage_say 'there is no update-ca-certificates, update-ca-trust or trust here'\n"
	"			return 1\n"
	"		fi ;;\n"
	"	Darwin)\n"
	"		_passsage_root security add-trusted-cert -d -p ssl -p basic -k /Library/Keychains/System.keychain \\\n"
	"			\"$_passsage_file\" ;;\n"
	"	*)\n"
	"		_passsage_say \"installing certificates is not known for $(uname -s)\"\n"
	"		return 1 ;;\n"
	"	esac\n"
	"}\n"
	"\n"
	": 'Prints the name of a bundle that has the certificate: the system own one, or else a private copy of it.'\n"
	"_passsage_certificate() (\n"
	"	set +e +u\n"
	"	if [ -n \"${ZSH_VERSION-}\" ]; then emulate sh; fi\n"
	"	set +C\n"
	"	umask 022\n"
	"	bundle=$(_passsage_system_bundle) || bundle=\n"
	"	private=$_passsage_dir/ca-bundle.pem\n"
	"	if [ -n \"$bundle\" ] && _passsage_has \"$bundle\"; then\n"
	"		_passsage_say \"the certificate is trusted already ($bundle)\"\n"
	"		printf '%s\\n' \"$bundle\"\n"
	"		exit 0\n"
	"	fi\n"
	"	if _passsage_has \"$private\" && [ \"$(id -u)\" != 0 ]; then\n"
	"		_passsage_say \"keeping to your own bundle (remove $private to try the system one again)\"\n"
	"	else\n"
	"		_passsage_say 'installing the certificate (sudo may ask for your password)'\n"
	"		if ( _passsage_install ); then\n"
	"			bundle=$(_passsage_system_bundle) || bundle=\n"
	"			if [ -n \"$bundle\" ] && _passsage_has \"$bundle\"; then\n"
	"				printf '%s\\n' \"$bundle\"\n"
	"				exit 0\n"
	"			fi\n"
	"		else\n"
	"			_passsage_say 'the system could not be made to trust the certificate (no root, no sudo, or no tool for it)'\n"
	"		fi\n"
	"	fi\n"
	"	if command mkdir -p \"$_passsage_dir\" &&\n"
	"		{ if [ -n \"$bundle\" ]; then command cat \"$bundle\"; echo; fi; printf '%s\\n' \"$_passsage_pem\"; } >\"$private.$$\" &&\n"
	"		command mv -f \"$private.$$\" \"$private\"; then\n"
	"		_passsage_say \"programs of this shell trust it through $private\"\n"
	"		printf '%s\\n' \"$private\"\n"
	"	else\n"
	"		command rm -f \"$private.$$\"\n"
	"		_passsage_say \"cannot write $private: the certificate is not trusted\"\n"
	"		exit 1\n"
	"	fi\n"
	")\n"
	"\n"
	"_passsage_line() { printf \"export %s='%s'\\n\" \"$1\" \"$(printf '%s\\n' \"$2\" | command sed \"s/'/'\\\\\\\\''/g\")\"; }\n"
	"\n"
	": 'Leaves the same settings in a file for other shells.'\n"
	"_passsage_save() (\n"
	"	set +e +u\n"
	"	if [ -n \"${ZSH_VERSION-}\" ]; then emulate sh; fi\n"
	"	set +C\n"
	"	umask 077\n"
	"	file=$_passsage_dir/proxy-env.sh\n"
	"	command mkdir -p \"$_passsage_dir\" && {\n"
	"		for name in HTTP_PROXY HTTPS_PROXY http_proxy https_proxy; do _passsage_line $name \"$_passsage_proxy\"; done\n"
	"		for name in NO_PROXY no_proxy; do _passsage_line $name \"$_passsage_no_proxy\"; done\n"
	"		if [ -n \"$_passsage_bundle\" ]; then\n"
	"			for name in SSL_CERT_FILE REQUESTS_CA_BUNDLE GIT_SSL_CAINFO NODE_EXTRA_CA_CERTS PIP_CERT CURL_CA_BUNDLE \\\n"
	"				CARGO_HTTP_CAINFO; do _passsage_line $name \"$_passsage_bundle\"; done\n"
	"		fi\n"
	"	} >\"$file.$$\" && command mv -f \"$file.$$\" \"$file\" || { command rm -f \"$file.$$\"; exit 1; }\n"
	")\n"
	"\n"
	"_passsage_main() {\n"
	"	_passsage_dir=${HOME:-$PWD}/.passsage\n"
	"	_passsage_wanted=yes\n"
	"	if [ -n \"${PASSSAGE_NO_CERTIFICATE-}\" ]; then _passsage_wanted=no; fi\n"
	"	for _passsage_word in \"$@\"; do\n"
	"		if [ \"$_passsage_word\" = --no-certificate ]; then _passsage_wanted=no; fi\n"
	"	done\n"
	"	if [ \"$_passsage_wanted\" = yes ]; then\n"
	"		_passsage_bundle=$(_passsage_certificate) || _passsage_bundle=\n"
	"	else\n"
	"		_passsage_bundle=$(_passsage_system_bundle) || _passsage_bundle=\n"
	"	fi\n"
	"	export HTTP_PROXY=\"$_passsage_proxy\" HTTPS_PROXY=\"$_passsage_proxy\" NO_PROXY=\"$_passsage_no_proxy\"\n"
	"	export http_proxy=\"$_passsage_proxy\" https_proxy=\"$_passsage_proxy\" no_proxy=\"$_passsage_no_proxy\"\n"
	"	if [ -n \"$_passsage_bundle\" ]; then\n"
	"		export SSL_CERT_FILE=\"$_passsage_bundle\" REQUESTS_CA_BUNDLE=\"$_passsage_bundle\" GIT_SSL_CAINFO=\"$_passsage_bundle\"\n"
	"		export NODE_EXTRA_CA_CERTS=\"$_passsage_bundle\" PIP_CERT=\"$_passsage_bundle\" CURL_CA_BUNDLE=\"$_passsage_bundle\"\n"
	"		export CARGO_HTTP_CAINFO=\"$_passsage_bundle\"\n"
	"	fi\n"
	"	if _passsage_save 2>/dev/null; then\n"
	"		_passsage_say \"other shells can have the same:  . $_passsage_dir/proxy-env.sh\"\n"
	"	fi\n"
	"	_passsage_say 'done'\n"
	"}\n"
	"\n"
	"_passsage_proxy={proxy}\n"
	"_passsage_no_proxy={no_proxy}\n"
	"_passsage_mark={mark}\n"
	"_passsage_pem={pem}\n"
	"_passsage_main \"$@\"\n"
	"unset -f _passsage_say _passsage_root _passsage_has _passsage_system_bundle _passsage_install _passsage_certificate\n"
	"unset -f _passsage_line _passsage_save _passsage_main\n"
	"unset _passsage_proxy _passsage_no_proxy _passsage_mark _passsage_pem _passsage_dir _passsage_wanted _passsage_word _passsage_bundle\n";

static const struct section {
	const char *id, *title, *text, *code;
} sections[] = {
	{ "shell", "Any shell (Linux, macOS), in one go",
		"Trusts the certificate (with root or sudo; else in a bundle of your own) and sets the variables that most programs heed. "
		"With --no-certificate it sets the variables only.",
		"curl -fsS -x {proxy} -o proxy-env.sh http://mitm.it/proxy-env.sh\n. ./proxy-env.sh" },
	{ "linux", "Linux, by hand", "Debian, Ubuntu, Alpine:",
		"curl -fsS -x {proxy} -o mitmproxy-ca-cert.crt http://mitm.it/cert/pem\n"
		"sudo cp mitmproxy-ca-cert.crt /usr/local/share/ca-certificates/ && sudo update-ca-certificates\n"
		"# Fedora, Red Hat, SUSE:\n"
		"sudo cp mitmproxy-ca-cert.crt /etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust\n"
		"# Arch and others with p11-kit:\n"
		"sudo trust anchor mitmproxy-ca-cert.crt" },
	{ "macos", "macOS", "Trust the certificate, then set the proxy in System Settings, Network, Details, Proxies ({host}, port {port}), or in the shell.",
		"curl -fsS -x {proxy} -o mitmproxy-ca-cert.pem http://mitm.it/cert/pem\n"
		"sudo security add-trusted-cert -d -p ssl -p basic -k /Library/Keychains/System.keychain mitmproxy-ca-cert.pem" },
	{ "windows", "Windows", "In a PowerShell of an administrator:",
		"Invoke-WebRequest -Proxy {proxy} -Uri http://mitm.it/cert/cer -OutFile mitmproxy-ca-cert.cer\n"
		"Import-Certificate -FilePath mitmproxy-ca-cert.cer -CertStoreLocation Cert:\\LocalMachine\\Root\n"
		"setx HTTP_PROXY {proxy}\nsetx HTTPS_PROXY {proxy}" },
	{ "docker", "Docker", "In the Dockerfile, with the certificate beside it. For a container localhost is the container itself: use an address of the "
		"proxy that it can reach.",
		"COPY mitmproxy-ca-cert.pem /usr/local/share/ca-certificates/mitmproxy-ca-cert.crt\nRUN update-ca-certificates\n"
		"ENV HTTP_PROXY={proxy} HTTPS_PROXY={proxy} SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" },
	{ "kubernetes", "Kubernetes", "Put the certificate into a ConfigMap, mount it, and point the pods to it and to the proxy:",
		"curl -fsS -x {proxy} -o ca.pem http://mitm.it/cert/pem\n"
		"kubectl create configmap passsage-ca --from-file=ca.pem\n"
		"# in the pod's template:\n"
		"#   volumes: [{ name: passsage-ca, configMap: { name: passsage-ca } }]\n"
		"#   volumeMounts: [{ name: passsage-ca, mountPath: /etc/passsage }]\n"
		"#   env: [{ name: HTTPS_PROXY, value: {proxy} }, { name: SSL_CERT_FILE, value: /etc/passsage/ca.pem }]" },
	{ "curl", "curl", NULL, "curl -x {proxy} --cacert mitmproxy-ca-cert.pem https://example.com/" },
	{ "apt", "apt", "In /etc/apt/apt.conf.d/80proxy (https needs the certificate in the system, see Linux):",
		"Acquire::http::Proxy \"{proxy}\";\nAcquire::https::Proxy \"{proxy}\";" },
	{ "git", "git", NULL, "git config --global http.proxy {proxy}\ngit config --global http.sslCAInfo \"$PWD/mitmproxy-ca-cert.pem\"" },
	{ "pip", "pip", NULL, "pip config set global.proxy {proxy}\npip config set global.cert \"$PWD/mitmproxy-ca-cert.pem\"" },
	{ "requests", "Python requests", NULL, "export HTTPS_PROXY={proxy} HTTP_PROXY={proxy} REQUESTS_CA_BUNDLE=\"$PWD/mitmproxy-ca-cert.pem\"" },
	{ "npm", "npm and Node", NULL, "npm config set proxy {proxy}\nnpm config set https-proxy {proxy}\n"
		"npm config set cafile \"$PWD/mitmproxy-ca-cert.pem\"\nexport NODE_EXTRA_CA_CERTS=\"$PWD/mitmproxy-ca-cert.pem\"" },
	{ "cargo", "cargo", "In ~/.cargo/config.toml:", "[http]\nproxy = \"{proxy}\"\ncainfo = \"/path/to/mitmproxy-ca-cert.pem\"" },
	{ "go", "Go", "Go heeds the variables; SSL_CERT_FILE must have all authorities that are to be trusted (on Linux: the system's bundle).",
		"export HTTPS_PROXY={proxy} HTTP_PROXY={proxy} SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" },
	{ "java", "Java", "Java has a store of its own (its password is changeit unless somebody changed it) and properties instead of variables:",
		"keytool -importcert -noprompt -cacerts -storepass changeit -alias passsage -file mitmproxy-ca-cert.pem\n"
		"export JAVA_TOOL_OPTIONS=\"-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port}\"" },
};

static const struct { const char *path, *text; } links[] = {
	{ "/", "this page" },
	{ "/cert/pem", "the certificate as PEM (Linux, macOS, most programs)" },
	{ "/cert/cer", "the certificate as DER (Windows, Android)" },
	{ "/cert/p12", "the certificate as PKCS #12 (no password)" },
	{ "/proxy-env.sh", "the script that sets a shell up" },
};

#define NO_PROXY "localhost,127.0.0.1,::1,169.254.169.254,169.254.170.2,.amazonaws.com"

/* 'a word for any shell' */
static struct str
quote(struct arena *a, struct str s)
{
	struct page_text t = { .arena = a };

	page_addz(&t, "'");
	for (size_t i = 0; i < s.n; i++)
		page_add(&t, s.p[i] == '\'' ? STR("'\\''") : (struct str){ s.p + i, s.p[i] != 0 });
	page_addz(&t, "'");
	return (struct str){ t.p, t.n };
}

/* As it is, where nothing in it needs quotes: commands are nicer to read so. */
static struct str
quote_if_needed(struct arena *a, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char low = ascii_lower(s.p[i]);
		if (!((low >= 'a' && low <= 'z') || (low >= '0' && low <= '9') || strchr(":/.-_@%+,=[]", low)) || low == 0)
			return quote(a, s);
	}
	return s.n ? s : STR("''");
}

struct value { const char *name; struct str value; };

/* Puts the values of {names} in; other braces stay. */
static struct str
expand(struct arena *a, const char *text, const struct value *values)
{
	struct page_text t = { .arena = a };

	for (const char *p = text, *brace; *p; p = brace) {
		brace = p + strcspn(p + (*p == '{'), "{") + (*p == '{');
		const struct value *v = values;
		struct str piece = { p, (size_t)(brace - p) };
		if (*p == '{')
			for (; v->name; v++) {
				size_t n = strlen(v->name);
				if (piece.n > n + 1 && memcmp(p + 1, v->name, n) == 0 && p[n + 1] == '}') {
					page_add(&t, v->value);
					piece = str_from(piece, n + 2);
					break;
				}
			}
		page_add(&t, piece);
	}
	return (struct str){ t.p, t.n };
}

static bool
is_base64(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i], low = ascii_lower(c);
		if (!((low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '='))
			return false;
	}
	return s.n > 0;
}

/* The certificates in a PEM and nothing else: whatever the operator's file has beside them (a key!) never leaves. *mark: a line in the
 * first one's signature, which tells it from all others. */
static struct str
certificates(struct arena *a, struct str pem, struct str *mark)
{
	struct page_text t = { .arena = a };
	struct str last = STR_NONE;
	bool inside = false;

	*mark = STR_NONE;
	while (pem.n) {
		struct str line = str_cut(&pem, '\n');
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		line = str_trim(line);
		if (!inside) {
			inside = str_eq(line, STR("-----BEGIN CERTIFICATE-----"));
			if (!inside)
				continue;
		} else if (str_eq(line, STR("-----END CERTIFICATE-----"))) {
			inside = false;
			if (!mark->n)
				*mark = last;
		} else if (is_base64(line)) {
			if (line.n >= 64)
				last = line; /* the last full one */
		} else {
			return STR_NONE;
		}
		page_add(&t, line);
		page_addz(&t, "\n");
	}
	return inside || !mark->n ? STR_NONE : (struct str){ t.p, t.n };
}

static void
answer_script(const struct onboard_context *ctx, struct arena *a, struct page *out)
{
	struct str mark, pem = certificates(a, ctx->ca_pem, &mark), extra = str_trim(ctx->no_proxy_extra);
	struct page_text t = { .arena = a };

	if (!pem.n) {
		page_addz(&t, "proxy env script unavailable\n");
		page_finish(out, 500, STR("text/plain; charset=utf-8"), &t);
		return;
	}
	struct str no_proxy = arena_printf(a, "%s%s%.*s%s%.*s", NO_PROXY, ctx->s3_host.n ? "," : "", STRP(ctx->s3_host), extra.n ? "," : "",
	                                   STRP(extra));
	page_add(&t, expand(a, script, (const struct value[]){
		{ "proxy", quote(a, ctx->proxy_url) },
		{ "no_proxy", quote(a, no_proxy) },
		{ "mark", quote(a, mark) },
		{ "pem", quote(a, str_upto(pem, pem.n - 1)) },
		{ 0 },
	}));
	page_finish(out, 200, STR("text/plain; charset=utf-8"), &t);
}

static void
answer_certificate(struct str body, const char *type, const char *extension, struct arena *a, struct page *out)
{
	struct page_text t = { .arena = a };

	if (!body.n) {
		page_addz(&t, "this proxy's certificate is unavailable\n");
		page_finish(out, 500, STR("text/plain; charset=utf-8"), &t);
		return;
	}
	page_add(&t, body);
	page_finish(out, 200, str_c(type), &t);
	headers_add(&out->headers, STR("Content-Disposition"), arena_printf(a, "attachment; filename=mitmproxy-ca-cert.%s", extension));
}

static void
add_links(struct page_text *t, bool html)
{
	page_addz(t, html ? "<ul>\n" : "");
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		page_add(t, arena_printf(t->arena, html ? "<li><a href=\"%s\">%s</a>: %s</li>\n" : "  http://mitm.it%-14s%.0s %s\n", links[i].path,
		                         links[i].path, links[i].text));
	page_addz(t, html ? "</ul>\n" : "");
}

static struct str
fingerprint(struct arena *a, struct str der)
{
	uint8_t digest[SHA256_RAW];
	char text[3 * SHA256_RAW + 1];

	if (!der.n)
		return STR_NONE;
	sha256_raw(der.p, der.n, digest);
	for (int i = 0; i < SHA256_RAW; i++)
		snprintf(text + 3 * i, 4, "%02X:", digest[i]);
	return arena_dup(a, (struct str){ text, sizeof text - 2 });
}

static void
add_as(struct page_text *t, bool html, struct str s)
{
	if (html)
		page_add_html(t, s);
	else
		page_add(t, s);
}

static void
answer_index(const struct onboard_context *ctx, bool html, struct arena *a, struct page *out)
{
	struct page_text t = { .arena = a };
	struct url u;
	bool parsed = url_parse(a, ctx->proxy_url, &u) == 0;
	const struct value values[] = {
		{ "proxy", quote_if_needed(a, ctx->proxy_url) },
		{ "host", parsed ? u.host : STR("localhost") },
		{ "port", parsed ? arena_printf(a, "%u", u.port) : STR("8080") },
		{ 0 },
	};
	struct str print = fingerprint(a, ctx->ca_der);

	if (html) {
		page_html_begin(&t, STR("passsage, a caching proxy"));
		page_addz(&t, "<p>You see this page, so your browser uses the proxy. It fetches what you ask for, keeps what may be kept, and opens TLS "
			"connections to do so: it shows you certificates of its own, which your programs must learn to trust.</p>\n<p>The proxy is <code>");
		page_add_html(&t, ctx->proxy_url);
		page_addz(&t, "</code>.</p>\n");
	} else {
		page_addz(&t, "passsage, a caching proxy: ");
		page_add(&t, ctx->proxy_url);
		page_addz(&t, "\n\n");
	}
	add_links(&t, html);
	if (print.n) {
		page_addz(&t, html ? "<p>SHA-256 fingerprint of the certificate (compare it with your operator's):</p>\n<pre>" : "\nSHA-256 of the certificate: ");
		page_add(&t, print);
		page_addz(&t, html ? "</pre>\n" : "\n");
	}
	if (html) {
		page_addz(&t, "<nav aria-label=\"Instructions\"><p>");
		for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
			page_add(&t, arena_printf(a, "%s<a href=\"#%s\">%s</a>", i ? " · " : "", sections[i].id, sections[i].title));
		page_addz(&t, "</p></nav>\n");
	}
	for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
		const struct section *s = &sections[i];
		page_add(&t, arena_printf(a, html ? "<h2 id=\"%s\">%s</h2>\n" : "\n%.0s## %s\n", s->id, s->title));
		if (s->text) {
			struct str text = expand(a, s->text, values);
			page_addz(&t, html ? "<p>" : "");
			add_as(&t, html, text);
			page_addz(&t, html ? "</p>\n" : "\n");
		}
		struct str code = expand(a, s->code, values);
		page_addz(&t, html ? "<pre><code>" : "\n");
		add_as(&t, html, code);
		page_addz(&t, html ? "</code></pre>\n" : "\n");
	}
	if (html)
		page_html_end(&t);
	page_finish(out, 200, html ? STR("text/html; charset=utf-8") : STR("text/plain; charset=utf-8"), &t);
}

static void
answer_refusal(int status, const char *title, bool html, struct arena *a, struct page *out)
{
	struct page_text t = { .arena = a };

	if (html) {
		page_html_begin(&t, str_c(title));
		page_addz(&t, "<p>This proxy has these pages:</p>\n");
	} else {
		page_addz(&t, title);
		page_addz(&t, "; there are\n");
	}
	add_links(&t, html);
	if (html)
		page_html_end(&t);
	page_finish(out, status, html ? STR("text/html; charset=utf-8") : STR("text/plain; charset=utf-8"), &t);
	if (status == 405)
		headers_add(&out->headers, STR("Allow"), STR("GET, HEAD"));
}

int
onboard_answer(const struct onboard_context *ctx, const struct http_request *req, struct arena *a, struct page *out)
{
	struct str path = req->url.path, mark;

	if (str_eq(path, STR("/proxy-env")) || str_eq(path, STR("/proxy-env.sh")))
		answer_script(ctx, a, out);
	else if (req->method != METHOD_GET && req->method != METHOD_HEAD)
		answer_refusal(405, "This page can only be read", page_form(req, PAGE_TEXT) == PAGE_HTML, a, out);
	else if (str_eq(path, STR("/")))
		answer_index(ctx, page_form(req, PAGE_HTML) == PAGE_HTML, a, out);
	else if (str_eq(path, STR("/cert/pem")))
		answer_certificate(certificates(a, ctx->ca_pem, &mark), "application/x-x509-ca-cert", "pem", a, out);
	else if (str_eq(path, STR("/cert/cer")))
		answer_certificate(ctx->ca_der, "application/x-x509-ca-cert", "cer", a, out);
	else if (str_eq(path, STR("/cert/p12")))
		answer_certificate(ctx->ca_p12, "application/x-pkcs12", "p12", a, out);
	else
		answer_refusal(404, "There is no such page", page_form(req, PAGE_TEXT) == PAGE_HTML, a, out);
	return 0;
}
