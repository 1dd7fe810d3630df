package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
)

//go:embed index.html rules.html app.js ask.js chart.js feed.js format.js rules.js stream.js style.css uplot
var files embed.FS

// policy allows what the page is made of and nothing else. uPlot sets styles through the object
// model, which does not need 'unsafe-inline'.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; worker-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	"":      "text/plain; charset=utf-8", // the licence
}

// Handler serves the pages at / and /rules and their files beside them, and 404 for other paths. Browsers ask again
// each time and get 304 as long as the files are the same.
func Handler() http.Handler {
	mux := http.NewServeMux()
	for _, name := range []string{"index.html", "rules.html", "app.js", "ask.js", "chart.js", "feed.js", "format.js", "rules.js", "stream.js", "style.css", "uplot/uPlot.iife.min.js", "uplot/uPlot.min.css", "uplot/LICENSE"} {
		body, err := files.ReadFile(name)
		if err != nil {
			panic(err) // not in the binary: the embed line above lacks it
		}
		sum := sha256.Sum256(body)
		pattern := "GET /" + name
		switch name {
		case "index.html":
			pattern = "GET /{$}"
		case "rules.html":
			pattern = "GET /rules"
		}
		mux.Handle(pattern, file(contentTypes[path.Ext(name)], `"`+hex.EncodeToString(sum[:8])+`"`, body))
	}
	return mux
}

func file(contentType, etag string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(body) // an error means that the client is gone
	}
}
