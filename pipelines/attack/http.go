package attack

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/weir-metrics/weir/query/webtest"
)

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // to memory
	_ = w.Close()
	return out.Bytes()
}

// body is an attack by a posted body.
func body(name, path string, header map[string]string, content []byte) Attack {
	return Attack{"body", name, func(ctx context.Context, t Target) (string, error) {
		return refused(send(ctx, t, "POST", path, header, bytes.NewReader(content)))
	}}
}

// bodies are attacks on the gateway.
func bodies() (all []Attack) {
	line := func(name, content string) { all = append(all, body("line: "+name, "/write", nil, []byte(content))) }
	for name, l := range map[string]string{
		"no field": "cpu", "no value": "cpu v=", "no name": " v=1", "only a comma": ",", "tag without a value": "cpu,a= v=1", "tag without a name": "cpu,=a v=1",
		"tag without =": "cpu,a v=1", "two values": "cpu v=1=2", "hexadecimal": "cpu v=0x1p4", "underscores": "cpu v=1_000", "infinity": "cpu v=inf",
		"Infinity": "cpu v=+Infinity", "NaN": "cpu v=nan", "overflow": "cpu v=1e999", "cut exponent": "cpu v=1e", "text for a time": "cpu v=1 now",
		"fraction for a time": "cpu v=1 1.5", "time that overflows": "cpu v=1 99999999999999999999",
		"open quote": `cpu v="text`, "NUL in the name": "c\x00pu v=1", "bytes that are no UTF-8": "cpu\xff\xfe v=1", "duplicate tag": "cpu,a=1,a=2 v=1",
		"UTF-16": "\xff\xfec\x00p\x00u\x00 \x00v\x00=\x001\x00", "long metric": strings.Repeat("m", 300) + " v=1",
		"long label name": "cpu," + strings.Repeat("l", 200) + "=1 v=1", "long label value": "cpu,l=" + strings.Repeat("v", 2000) + " v=1",
		"long series":      "cpu," + strings.Join(many(12, func(i int) string { return fmt.Sprintf("l%d=%s", i, strings.Repeat("v", 500)) }), ",") + " v=1",
		"10,000 bad lines": strings.Repeat("cpu\n", 10_000), "escape at the end": `cpu\`, "carriage returns": "cpu\rv=1\r", "HTML": "<html><body>hello</body></html>",
	} {
		line(name, l)
	}
	json := map[string]string{"Content-Type": "application/json"}
	for name, j := range map[string]string{
		"no object": `17`, "null": `null`, "cut": `{"metricName":"a"`, "no name": `{"value":1,"timestamp":1}`, "empty name": `{"metricName":"","value":1}`,
		"text for a value": `{"metricName":"a","value":"1"}`, "null value": `{"metricName":"a","value":null}`, "huge value": `{"metricName":"a","value":1e400}`,
		"NaN": `{"metricName":"a","value":NaN}`, "fraction of a ms": `{"metricName":"a","value":1,"timestamp":1.5}`, "unknown field": `{"metricName":"a","value":1,"tag":{"host":"a"}}`,
		"other case": `{"MetricName":"a","Value":1}`, "tags in a list": `{"metricName":"a","value":1,"tags":["a"]}`, "number for a tag": `{"metricName":"a","value":1,"tags":{"a":1}}`,
		"nested tags": `{"metricName":"a","value":1,"tags":{"a":{"b":"c"}}}`, "comments": `{"metricName":"a"/**/,"value":1}`, "single quotes": `{'metricName':'a','value':1}`,
		"trailing comma": `[{"metricName":"a","value":1},]`, "two values in one field": `{"metricName":"a","value":1 2}`, "deep": strings.Repeat("[", 100_000),
		"deep objects": strings.Repeat(`{"a":`, 50_000), "time in a text": `{"metricName":"a","value":1,"timestamp":"now"}`, "bytes that are no UTF-8": "{\"metricName\":\"a\xff\",\"value\":1}",
		"half a surrogate": `{"metricName":"\ud800","value":1}`, "long name": `{"metricName":"` + strings.Repeat("m", 300) + `","value":1}`,
		"NUL": `{"metricName":"a\u0000","value":1}`, "line protocol": "cpu v=1", "boolean": `{"metricName":"a","value":true}`,
		"big exponent": `{"metricName":"a","value":1e` + strings.Repeat("9", 1000) + `}`, "many digits": `{"metricName":"a","value":"` + strings.Repeat("9", 10_000) + `"}`,
	} {
		all = append(all, body("json: "+name, "/api/v1/samples", json, []byte(j)))
	}
	encoded := func(encoding string) map[string]string { return map[string]string{"Content-Encoding": encoding} }
	good := []byte("cpu v=1\n")
	cut := gz(bytes.Repeat(good, 100))
	for _, a := range []struct {
		name     string
		encoding string
		content  []byte
	}{
		{"gzip that is none", "gzip", good}, {"gzip that is cut", "gzip", cut[:len(cut)-6]}, {"gzip in gzip", "gzip", gz(gz(good))},
		{"gzip bomb", "gzip", gz(make([]byte, 64<<20))}, {"unknown encoding", "br", good}, {"rubbish for an encoding", "\"", good}, {"many encodings", strings.Repeat("gzip,", 50) + "gzip", gz(good)},
		{"empty gzip header", "gzip", []byte{0x1f, 0x8b}}, {"flipped checksum", "gzip", append(cut[:len(cut)-8:len(cut)-8], 1, 2, 3, 4, 5, 6, 7, 8)},
	} {
		all = append(all, body("encoding: "+a.name, "/write", encoded(a.encoding), a.content))
	}
	all = append(all,
		body("body of 20 MB", "/write", nil, bytes.Repeat([]byte("cpu v=1\n"), 20<<20/8)),
		body("line of 5 MB", "/write", nil, bytes.Repeat([]byte("x"), 5<<20)),
		body("content type of a picture", "/api/v1/samples", map[string]string{"Content-Type": "image/png"}, []byte("x")),
		body("content type of nonsense", "/api/v1/samples", map[string]string{"Content-Type": ";;;"}, []byte("x")),
	)
	for _, p := range []string{"x", "S", "1", "ns,ms", strings.Repeat("n", 1000)} {
		all = append(all, body("precision "+short(p), "/write?precision="+url.QueryEscape(p), nil, good))
	}
	return all
}

func many(n int, f func(i int) string) (all []string) {
	for i := range n {
		all = append(all, f(i))
	}
	return all
}

// requests are those of webtest: hosts, origins, methods, paths, parameters, what no client would send, and slow ones.
func requests() (all []Attack) {
	for _, a := range webtest.Attacks() {
		family, name, _ := strings.Cut(a.Name, ": ")
		all = append(all, Attack{family, name, func(ctx context.Context, t Target) (string, error) {
			out, err := a.Send(ctx, t.HTTP)
			if err == nil {
				err = a.Check(out)
			}
			if out.Status == webtest.Closed {
				return "connection closed", err
			}
			return fmt.Sprintf("%d %s", out.Status, short(out.Body)), err
		}})
	}
	return all
}
