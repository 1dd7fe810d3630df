package enginetest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Page is a page in a headless Chromium, driven by the DevTools protocol over a
// pair of pipes.
type Page struct {
	t       testing.TB
	in      *os.File
	out     *bufio.Reader
	session string
	last    int
	// Errors are the uncaught exceptions and console errors of the page so far.
	Errors []string
}

// OpenPage opens url in a window of 1280 by 900 pixels. Chromium ends with the test.
func OpenPage(t testing.TB, url string) *Page {
	t.Helper()
	inRead, inWrite := pipe(t)
	outRead, outWrite := pipe(t)
	cmd := exec.Command(env(t, "WEIR_CHROMIUM"), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--window-size=1280,900", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{inRead, outWrite} // 3 and 4, where Chromium looks for them
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inRead.Close()
	outWrite.Close()
	p := &Page{t: t, in: inWrite, out: bufio.NewReader(outRead)}
	t.Cleanup(func() {
		_ = p.send("Browser.close", nil) // lets it end its helpers; the kill is for one that hangs
		hang := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		hang.Stop()
		inWrite.Close()
		outRead.Close()
	})
	if err := outRead.SetReadDeadline(time.Now().Add(3 * time.Minute)); err != nil {
		t.Fatal(err)
	}

	var target struct{ TargetID string }
	p.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	p.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p.session = attached.SessionID
	p.call("Runtime.enable", nil, nil)
	p.call("Page.enable", nil, nil)
	p.call("Page.navigate", map[string]any{"url": url}, nil)
	return p
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// Eval evaluates a JavaScript expression in the page and decodes its value, which
// must be of JSON, into value. A promise is awaited.
func (p *Page) Eval(expression string, value any) error {
	p.t.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	p.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &answer)
	if e := answer.ExceptionDetails; e != nil {
		return fmt.Errorf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if len(answer.Result.Value) == 0 {
		return fmt.Errorf("%s: undefined", expression)
	}
	return json.Unmarshal(answer.Result.Value, value)
}

// Until waits until the JavaScript expression is true in the page.
func (p *Page) Until(within time.Duration, expression string) {
	p.t.Helper()
	Eventually(p.t, within, "true "+expression+" in the page", func() error {
		var yes bool
		if err := p.Eval("!!("+expression+")", &yes); err != nil {
			return err
		}
		if !yes {
			var text string
			_ = p.Eval("document.body.innerText", &text)
			return fmt.Errorf("the page says: %s\nerrors: %v", tail(text, 1500), p.Errors)
		}
		return nil
	})
}

// Screenshot writes what the window shows to a PNG file.
func (p *Page) Screenshot(file string) {
	p.t.Helper()
	var shot struct{ Data string }
	p.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(file, png, 0o644)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

type message struct {
	ID     int
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *struct{ Message string }
}

func (p *Page) send(method string, params any) error {
	p.last++
	request := map[string]any{"id": p.last, "method": method}
	if params != nil {
		request["params"] = params
	}
	if p.session != "" && method != "Browser.close" {
		request["sessionId"] = p.session
	}
	b, err := json.Marshal(request)
	if err != nil {
		return err
	}
	_, err = p.in.Write(append(b, 0))
	return err
}

// call sends a command and waits for its answer; the events on the way are looked at.
func (p *Page) call(method string, params, result any) {
	p.t.Helper()
	err := p.send(method, params)
	for err == nil {
		var b []byte
		if b, err = p.out.ReadBytes(0); err != nil {
			break
		}
		var m message
		if err = json.Unmarshal(b[:len(b)-1], &m); err != nil {
			break
		}
		p.note(&m)
		if m.ID != p.last {
			continue
		}
		if m.Error != nil {
			err = errors.New(m.Error.Message)
		} else if result != nil {
			err = json.Unmarshal(m.Result, result)
		}
		if err == nil {
			return
		}
	}
	p.t.Fatalf("chromium: %s: %v", method, err)
}

// note keeps what the page complains about.
func (p *Page) note(m *message) {
	switch m.Method {
	case "Runtime.exceptionThrown":
		p.Errors = append(p.Errors, string(m.Params))
	case "Runtime.consoleAPICalled":
		var call struct{ Type string }
		if json.Unmarshal(m.Params, &call) == nil && call.Type == "error" {
			p.Errors = append(p.Errors, string(m.Params))
		}
	}
}
