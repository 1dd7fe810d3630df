package webtest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Attacks returns some hundred hostile requests, family by family, in a fixed order. All are small,
// except a few of 100 KB, and need no more than a loopback address. A listener without a gateway
// answers writes with 503.
func Attacks() []Attack {
	var all []Attack
	for _, family := range []func() []Attack{foreignHosts, foreignOrigins, methods, paths, parameters, malformed, slow} {
		all = append(all, family()...)
	}
	return all
}

// request writes a request with these headers, which are whole lines.
func request(method, target, host string, headers ...string) string {
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: " + host}, headers...)
	return strings.Join(append(lines, "Connection: close", "", ""), "\r\n")
}

func get(target string, headers ...string) string {
	return request("GET", target, "{host}", headers...)
}

// post writes a request with a body.
func post(target, host, body string, headers ...string) string {
	headers = append(headers, fmt.Sprintf("Content-Length: %d", len(body)))
	return request("POST", target, host, headers...) + body
}

// api are the addresses available to a reader.
var api = []string{"/", "/app.js", "/api/v1/status", "/api/v1/alerts", "/api/v1/series", "/api/v1/windows?series=m", "/metrics/m", "/live", "/api/v1/top", "/api/v1/rules", "/metrics"}

// foreignHosts are sent by a page whose name was made to resolve to the listener.
func foreignHosts() (all []Attack) {
	refused := []int{http.StatusMisdirectedRequest, http.StatusBadRequest}
	for _, target := range append(api, "/nothing", "/debug/pprof/") {
		all = append(all, Attack{Name: "host: evil.example of " + target, Raw: request("GET", target, "evil.example:7070"), Want: refused})
	}
	for _, target := range []string{"/write", "/api/v1/samples", "/-/reload"} {
		all = append(all, Attack{Name: "host: evil.example writes " + target, Raw: post(target, "evil.example", "cpu v=1"), Want: refused})
	}
	for _, host := range []string{"localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1.nip.io", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "::1",
		"[::1", "[::1]x", "[127.0.0.1]", "localhost:x", "localhost:99999", "localhost:80:80", "localhost@evil.example", "evil.example@localhost", "loc\xd0\xb0lhost",
		"local host", "localhost/", "localhost?x", "localhost#x", "\"localhost\"", "<script>alert(1)</script>", "a..b", "..", "*", "*.localhost", "%6cocalhost", "localhost%00",
		"localhost,evil.example", "evil.example, localhost", strings.Repeat("a", 300), strings.Repeat("a.", 500) + "x", "\xff\xfe"} {
		all = append(all, Attack{Name: fmt.Sprintf("host: %.60q", host), Raw: request("GET", "/api/v1/alerts", host), Want: refused})
	}
	for name, raw := range map[string]string{
		"a foreign absolute address":      request("GET", "http://evil.example/api/v1/alerts", "{host}"),
		"X-Forwarded-Host is nobody's":    request("GET", "/api/v1/alerts", "evil.example", "X-Forwarded-Host: localhost"),
		"Forwarded is nobody's":           request("GET", "/api/v1/alerts", "evil.example", "Forwarded: host=localhost"),
		"X-Forwarded-For is nobody's":     request("GET", "/api/v1/alerts", "evil.example", "X-Forwarded-For: 127.0.0.1"),
		"X-Original-URL does not reroute": request("GET", "/api/v1/alerts", "evil.example", "X-Original-URL: /healthz", "X-Rewrite-URL: /healthz"),
	} {
		all = append(all, Attack{Name: "host: " + name, Raw: raw, Want: refused})
	}
	return all
}

// foreignOrigins are what a page elsewhere can make a browser send.
func foreignOrigins() (all []Attack) {
	refused := []int{http.StatusForbidden}
	for _, target := range []string{"/write", "/api/v1/samples", "/-/reload"} {
		for name, headers := range map[string][]string{
			"a form":                {"Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Content-Type: text/plain"},
			"fetch without CORS":    {"Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Content-Type: text/plain"},
			"an old browser":        {"Origin: https://evil.example", "Content-Type: application/x-www-form-urlencoded"},
			"a sandboxed frame":     {"Origin: null", "Content-Type: text/plain"},
			"another port":          {"Origin: http://127.0.0.1:1", "Sec-Fetch-Site: same-site"},
			"a beacon":              {"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Content-Type: text/plain"},
			"an origin like ours":   {"Origin: http://{host}.evil.example"},
			"an origin of nonsense": {"Origin: <script>alert(1)</script>"},
		} {
			all = append(all, Attack{Name: "origin: " + name + " of " + target, Raw: post(target, "{host}", "cpu v=1", headers...), Want: refused})
		}
		all = append(all, Attack{Name: "origin: a preflight of " + target, Want: refused,
			Raw: request("OPTIONS", target, "{host}", "Origin: https://evil.example", "Access-Control-Request-Method: POST", "Sec-Fetch-Site: cross-site")})
	}
	for _, target := range api {
		for dest, mode := range map[string]string{"image": "no-cors", "script": "no-cors", "iframe": "navigate", "empty": "cors"} {
			all = append(all, Attack{Name: "origin: " + dest + " of " + target, Want: refused,
				Raw: get(target, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: "+mode, "Sec-Fetch-Dest: "+dest)})
		}
	}
	return all
}

// methods are those that an address does not take, and those that do not exist.
func methods() (all []Attack) {
	for _, target := range []string{"/", "/api/v1/alerts", "/metrics/m", "/live", "/healthz", "/readyz"} {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "QUERY"} {
			all = append(all, Attack{Name: "method: " + method + " " + target, Raw: request(method, target, "{host}"), Want: []int{404, 405, 501, 503}})
		}
	}
	for _, method := range []string{"get", "G\x00T", "G T", "", "GET\t", "(GET)", "GÉT", strings.Repeat("A", 5000), "CONNECT"} {
		all = append(all, Attack{Name: fmt.Sprintf("method: %.20q", method), Raw: request(method, "/api/v1/alerts", "{host}"), Want: []int{400, 404, 405, 501, 503}})
	}
	for _, target := range []string{"/write", "/api/v1/samples", "/-/reload"} {
		all = append(all, Attack{Name: "method: GET " + target, Raw: get(target), Want: []int{404, 405, 503}})
	}
	return all
}

// paths lead out of what is served.
func paths() (all []Attack) {
	for _, path := range []string{"/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..;/etc/passwd", "/uplot/../../web.go", "/uplot/%2e%2e/web.go",
		"/web.go", "/uplot/", "/uplot", "/%00", "/app.js%00.html", "/app.js%00", "/%", "/%zz", "/%c0%ae%c0%ae/", "/\\..\\..\\windows", "/..\\..", "//evil.example/", "//evil.example/..",
		"///", "/./", "/.git/config", "/.env", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/debug/requests", "/metrics/", "/metrics/..", "/metrics/a/b",
		"/metrics/%ff", "/metrics/%7B%7D", "/metrics/m%7B", "/metrics/m%7Ba%3D%22", "/metrics/" + strings.Repeat("m", 5000),
		"/api/v1/windows/", "/api/v1/../../-/reload", "/-/", "/-/quit", "/-/reload/", "/healthz/../api", "/healthz%00", "/live/", "/LIVE", "/api/v2/query", "/api/v1/admin/tsdb/delete_series",
		"/index.html", "/graph?g0.expr=1", "/cgi-bin/test", "/wp-login.php", "/server-status", "/actuator/env", "/%0d%0aSet-Cookie:x=y", "/app.js/", "*", "/" + strings.Repeat("a/", 2000),
		"/" + strings.Repeat("../", 2000)} {
		all = append(all, Attack{Name: fmt.Sprintf("path: %.70q", path), Raw: get(path), Want: []int{301, 307, 308, 400, 404, 405, 503}})
	}
	// These are valid, if odd, names: nobody has such a metric.
	for _, path := range []string{"/metrics/%2e%2e", "/metrics/%00", "/metrics/%1b%5b31m", "/metrics/" + url.PathEscape("<script>alert(1)</script>"),
		"/metrics/..%2f..%2fetc%2fpasswd", "/metrics/m%7D", "/?" + strings.Repeat("a=b&", 2000)} {
		all = append(all, Attack{Name: fmt.Sprintf("path: %.70q", path), Raw: get(path), Want: []int{200, 400}})
	}
	all = append(all,
		Attack{Name: "path: 100 KB", Raw: get("/" + strings.Repeat("a", 100_000)), Want: []int{431, 414, Closed}},
		Attack{Name: "path: a query of 100 KB", Raw: get("/api/v1/series?metric=" + strings.Repeat("a", 100_000)), Want: []int{431, 414, Closed}},
		Attack{Name: "path: spaces", Raw: "GET /a b c HTTP/1.1\r\nHost: {host}\r\n\r\n", Want: []int{400}},
		Attack{Name: "path: none", Raw: "GET  HTTP/1.1\r\nHost: {host}\r\n\r\n", Want: []int{400}},
		Attack{Name: "path: raw bytes", Raw: get("/\xff\xfe\x80"), Want: []int{400, 404}},
		Attack{Name: "path: control characters", Raw: get("/\x01\x7f"), Want: []int{400, 404}},
	)
	return all
}

// parameters are out of bounds, of another kind, or made to be expensive.
func parameters() (all []Attack) {
	bad := func(name, target string) {
		all = append(all, Attack{Name: "parameter: " + name, Raw: get(target), Want: []int{http.StatusBadRequest}})
	}
	for _, target := range []string{"/api/v1/windows?series=m&", "/api/v1/series?", "/api/v1/alerts?", "/metrics/m?"} {
		for _, limit := range []string{"0", "-1", "NaN", "Inf", "1e3", "10001", "99999999999999999999", "0x10", "1_000", "%31%30%30%30%30%30", "+", "%00", "1;2"} {
			bad("limit="+limit+" of "+target, target+"limit="+limit)
		}
		for _, query := range []string{"nothing=1", "limit=1&limit=2", "=x", "%ff=1", "limit=%ff", "limit=%zz", "__proto__=1", "limit[]=1", "a;b"} {
			bad(query+" of "+target, target+query)
		}
	}
	for _, at := range []struct{ target, from, to string }{{"/api/v1/windows?series=m&", "from", "to"}, {"/metrics/m?", "startTimestamp", "endTimestamp"}} {
		for _, v := range []string{"-1", "NaN", "1700000000", "1700000000.5", "1700000000000000", "1700000000000000000", "now", "yesterday", "2026-13-01T00:00:00Z", "9999999999999999999999", "1e300"} {
			bad(at.from+"="+v+" of "+at.target, at.target+at.from+"="+url.QueryEscape(v))
		}
		bad("from after to of "+at.target, at.target+at.from+"=1700000001000&"+at.to+"=1700000000000")
		bad("from is to of "+at.target, at.target+at.from+"=1700000000000&"+at.to+"=1700000000000")
		bad("tier=1s of "+at.target, at.target+"tier=1s")
		all = append(all, Attack{Name: "parameter: all of time of " + at.target, Raw: get(at.target + at.from + "=0&" + at.to + "=253402300799999&limit=10000"), Want: []int{200}})
	}
	for _, cursor := range []string{"x", "AQ", "AA", "AQAAAAAAAAAAAAAAAAAAAAAAAAAA", "../..", "%00", "null", strings.Repeat("A", 40_000), "AZ9k"} {
		bad(fmt.Sprintf("nextCursor=%.20s", cursor), "/metrics/m?nextCursor="+cursor)
	}
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf("l%d:v", i)
	}
	for _, tags := range []string{"x", ":", ":v", "a:", "a:b,a:c", `a:"b"c`, "a,b:c", strings.Join(many, ","), "a:" + strings.Repeat("v", 5000), "a:%ff"} {
		bad(fmt.Sprintf("tags=%.30s", tags), "/metrics/m?tags="+strings.ReplaceAll(tags, "\"", "%22"))
		bad(fmt.Sprintf("match=%.30s", tags), "/api/v1/series?match="+strings.ReplaceAll(tags, "\"", "%22"))
	}
	for _, series := range []string{"", "{", "m{", `m{a="b"`, `m{a=b}`, `m{a="b",a="c"}`, strings.Repeat("m", 5000), `m{="b"}`, `m{a="\x"}`} {
		bad(fmt.Sprintf("series=%.30q of windows", series), "/api/v1/windows?series="+url.QueryEscape(series))
		if series != "" {
			bad(fmt.Sprintf("series=%.30q of live", series), "/live?series="+url.QueryEscape(series))
		}
	}
	bad("65 series of live", "/live?series=m"+strings.Repeat("&series=m", 64))
	bad("only=windows of live", "/live?only=windows")
	bad("tier=x of live", "/live?tier=x")
	return all
}

// malformed are not requests, or are two in one.
func malformed() (all []Attack) {
	add := func(name, raw string, want ...int) {
		all = append(all, Attack{Name: "malformed: " + name, Raw: raw, Want: append(want, Closed)})
	}
	head := "POST /write HTTP/1.1\r\nHost: {host}\r\n"
	// These end with 400, or with one answer to the one request that was sent.
	add("no Host", "GET / HTTP/1.1\r\n\r\n", 400)
	add("two Hosts", "GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n", 400)
	add("a Host that was folded", "GET / HTTP/1.1\r\nHost: {host}\r\n evil.example\r\n\r\n", 400, 421)
	add("two lengths", head+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400)
	add("a negative length", head+"Content-Length: -1\r\n\r\n", 400)
	add("a length of nonsense", head+"Content-Length: 1x\r\n\r\na", 400)
	add("a length of 20 digits", head+"Content-Length: 99999999999999999999\r\n\r\na", 400)
	add("a length of exabytes", head+"Content-Length: 9223372036854775807\r\nExpect: 100-continue\r\n\r\n", 400, 413, 408, 429, 503)
	add("a length and chunks", head+"Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /api/v1/alerts HTTP/1.1\r\nHost: {host}\r\n\r\n", 400, 204, 503)
	add("chunks twice", head+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, 501)
	add("chunks and identity", head+"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, 501)
	add("chunks of another name", head+"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, 501)
	add("chunks behind a space", head+"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400)
	add("chunks behind a tab", head+"Transfer-Encoding:\tchunked\r\nConnection: close\r\n\r\n0\r\n\r\n", 400, 204, 503)
	add("a chunk of a bad size", head+"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\nab\r\n0\r\n\r\n", 400, 503)
	add("a chunk of a huge size", head+"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nffffffffffffffffff\r\nab\r\n0\r\n\r\n", 400, 503)
	add("a chunk that is longer than it says", head+"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nabcdef\r\n0\r\n\r\n", 400, 503)
	add("a header without colon", "GET / HTTP/1.1\r\nHost: {host}\r\nnonsense\r\n\r\n", 400)
	add("a header without name", "GET / HTTP/1.1\r\nHost: {host}\r\n: x\r\n\r\n", 400)
	add("a header with a NUL", "GET / HTTP/1.1\r\nHost: {host}\r\nX: a\x00b\r\n\r\n", 400)
	add("a header that was folded", "GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: a\r\n b\r\nConnection: close\r\n\r\n", 200, 400)
	add("a header of 100 KB", get("/", "X: "+strings.Repeat("a", 100_000)), 431)
	add("10,000 headers", get("/", strings.TrimSuffix(strings.Repeat("X: a\r\n", 20_000), "\r\n")), 431)
	add("HTTP/0.9", "GET /\r\n", 400)
	add("HTTP/9.9", "GET / HTTP/9.9\r\nHost: {host}\r\n\r\n", 400, 505)
	add("HTTP/1.1.1", "GET / HTTP/1.1.1\r\nHost: {host}\r\n\r\n", 400)
	add("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 400, 404, 405, 501, 505)
	add("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("\x00", 512)+"\r\n\r\n", 400)
	add("the PROXY protocol", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: {host}\r\n\r\n", 400)
	add("bare line feeds", "GET /healthz HTTP/1.1\nHost: {host}\nConnection: close\n\n", 200, 400)
	add("bare carriage returns", "GET / HTTP/1.1\rHost: {host}\r\r", 400)
	add("zeros", strings.Repeat("\x00", 4096)+"\r\n\r\n", 400)
	add("another protocol", "\x00\x00\x00\x1d\x00\x12\x00\x00\x00\x00\x00\x01\x00\x04test\r\n\r\n", 400) // Kafka's
	add("SSH", "SSH-2.0-OpenSSH_9\r\n\r\n", 400)
	add("an expectation of nonsense", get("/", "Expect: wonders"), 417)
	add("a body of a GET", get("/api/v1/alerts", "Content-Length: 5")+"hello", 400)
	add("chunks of a GET", get("/api/v1/alerts", "Transfer-Encoding: chunked")+"5\r\nhello\r\n0\r\n\r\n", 400)
	add("a body of a HEAD", request("HEAD", "/", "{host}", "Content-Length: 5")+"hello", 400)
	add("gzip that is none", post("/write", "{host}", "hello", "Content-Encoding: gzip"), 400, 503)
	add("an encoding of nonsense", post("/write", "{host}", "hello", "Content-Encoding: bomb"), 400, 415, 503)
	add("a method that is overridden", get("/-/reload", "X-HTTP-Method-Override: POST"), 404, 405, 503)
	add("an upgrade to HTTP/2", get("/healthz", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), 200, 400)
	add("an upgrade to a web socket", get("/live", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"), 200, 400)
	add("two requests in one", "GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\nGET /api/v1/alerts HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 200)
	return all
}

// slow requests hold their connection as long as they may.
func slow() (all []Attack) {
	for name, raw := range map[string]string{
		"half a line":        "GET / HT",
		"headers":            "GET / HTTP/1.1\r\nHost: {host}\r\nX: y",
		"a body":             "POST /write HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n",
		"a body of a reload": "POST /-/reload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n",
		"chunks":             "POST /write HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
		"chunk extensions":   "POST /write HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n1;x=",
		"a body of a GET":    "GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n",
	} {
		all = append(all, Attack{Name: "slow: " + name, Raw: raw, Trickle: true, Want: []int{Closed, 200, 400, 408, 413, 429, 500, 503}})
	}
	return all
}
