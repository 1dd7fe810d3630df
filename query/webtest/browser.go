package webtest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Browser is a running chromium. Close it.
type Browser struct {
	cmd     *exec.Cmd
	profile string
	in      *os.File // to the browser
	stderr  *tail
	done    chan struct{} // the pipe from the browser has ended

	mu      sync.Mutex
	lastID  int
	waiting map[int]chan message
	pages   map[string]*Page // by session
}

// message is what goes over the pipe, in both directions: a call, its answer, or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// tail keeps the last few KB that the browser wrote to its standard error.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-4096):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// ErrNoBrowser is wrapped by Start if there is no chromium.
var ErrNoBrowser = errors.New("no chromium: install Debian's package chromium or set WEIR_CHROMIUM")

// Start starts a browser with an empty profile.
func Start() (*Browser, error) {
	name := os.Getenv("WEIR_CHROMIUM")
	if name == "" {
		name = "chromium"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNoBrowser, err)
	}
	profile, err := os.MkdirTemp("", "weir-chromium-")
	if err != nil {
		return nil, err
	}
	toR, toW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	fromR, fromW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	b := &Browser{
		profile: profile, in: toW, stderr: &tail{}, done: make(chan struct{}),
		waiting: map[int]chan message{}, pages: map[string]*Page{},
	}
	// The sandbox needs rights that containers and root lack; only weir's own page is opened.
	b.cmd = exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	b.cmd.ExtraFiles = []*os.File{toR, fromW} // the browser's descriptors 3 and 4
	b.cmd.Stderr = b.stderr
	err = b.cmd.Start()
	_ = toR.Close() // the browser has its own
	_ = fromW.Close()
	if err != nil {
		_ = os.RemoveAll(profile)
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go b.read(fromR)
	return b, nil
}

// Close ends the browser and removes its profile.
func (b *Browser) Close() error {
	_ = b.in.Close() // chromium exits when its pipe closes; Kill is for when it does not
	select {
	case <-b.done:
	case <-time.After(5 * time.Second):
	}
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait() // it was killed: not our error
	return os.RemoveAll(b.profile)
}

func (b *Browser) read(from *os.File) {
	defer close(b.done)
	defer from.Close()
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
			continue // not ours to judge; a call that waits for it times out
		}
		b.mu.Lock()
		answer, page := b.waiting[m.ID], b.pages[m.Session]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		switch {
		case answer != nil:
			answer <- m
		case page != nil && m.Method != "":
			page.event(m.Method, m.Params)
		}
	}
}

// call sends a command and waits for its answer, which it decodes into result unless that is nil.
func (b *Browser) call(ctx context.Context, session, method string, params map[string]any, result any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	answer := make(chan message, 1)
	b.mu.Lock()
	b.lastID++
	m := message{ID: b.lastID, Session: session, Method: method, Params: raw}
	b.waiting[m.ID] = answer
	text, err := json.Marshal(m)
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", method, err, b.stderr)
	}
	select {
	case got := <-answer:
		if got.Error != nil {
			return fmt.Errorf("%s: %s", method, got.Error.Message)
		}
		if result != nil {
			return json.Unmarshal(got.Result, result)
		}
		return nil
	case <-b.done:
		return fmt.Errorf("%s: the browser ended: %w: %s", method, io.ErrUnexpectedEOF, b.stderr)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// Page is one tab.
type Page struct {
	b       *Browser
	target  string
	session string

	mu     sync.Mutex
	faults []string
}

// Open opens the address in a tab of width × height CSS pixels. scheme is what the reader prefers,
// "light" or "dark".
func (b *Browser) Open(ctx context.Context, url, scheme string, width, height int) (*Page, error) {
	return b.OpenWith(ctx, url, scheme, width, height, "")
}

// OpenWith is Open, but runs the script before any script of the page.
func (b *Browser) OpenWith(ctx context.Context, url, scheme string, width, height int, script string) (*Page, error) {
	var target struct {
		TargetID string `json:"targetId"`
	}
	if err := b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	if err := b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached); err != nil {
		return nil, err
	}
	p := &Page{b: b, target: target.TargetID, session: attached.SessionID}
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	for _, c := range []struct {
		method string
		params map[string]any
	}{
		{"Runtime.enable", nil},
		{"Log.enable", nil},
		{"Page.enable", nil},
		{"Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}},
		{"Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}},
		{"Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": script}},
		{"Page.navigate", map[string]any{"url": url}},
	} {
		if err := b.call(ctx, p.session, c.method, c.params, nil); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Close closes the tab.
func (p *Page) Close(ctx context.Context) error {
	return p.b.call(ctx, "", "Target.closeTarget", map[string]any{"targetId": p.target}, nil)
}

// event records what the page's console would show in red: exceptions, refused loads, breaches of
// the Content-Security-Policy.
func (p *Page) event(method string, params json.RawMessage) {
	var text string
	switch method {
	case "Runtime.exceptionThrown":
		text = string(params)
	case "Log.entryAdded":
		var e struct {
			Entry struct{ Level, Text, URL string } `json:"entry"`
		}
		if json.Unmarshal(params, &e) != nil || e.Entry.Level != "error" {
			return
		}
		text = e.Entry.Text + " " + e.Entry.URL
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, text)
}

// Faults returns the errors on the page's console so far.
func (p *Page) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.faults...)
}

// Eval evaluates a JavaScript expression and decodes its value into result, unless that is nil.
func (p *Page) Eval(ctx context.Context, expression string, result any) error {
	var answer struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	params := map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}
	if err := p.b.call(ctx, p.session, "Runtime.evaluate", params, &answer); err != nil {
		return err
	}
	if e := answer.Exception; e != nil {
		return fmt.Errorf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if result == nil || len(answer.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(answer.Result.Value, result)
}

// Await waits until the JavaScript expression is true. If ctx ends first, the error has the page's
// text and its faults.
func (p *Page) Await(ctx context.Context, expression string) error {
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		// An exception means that the page is not there yet.
		var holds bool
		evalErr := p.Eval(ctx, "Boolean("+expression+")", &holds)
		if holds {
			return nil
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			var text string
			err := errors.Join(ctx.Err(), evalErr, p.Eval(last, "document.body.innerText", &text))
			return fmt.Errorf("page never had %s: %w\nfaults: %q\ntext:\n%s", expression, err, p.Faults(), text)
		}
	}
}

// Screenshot saves what the tab shows as a PNG file.
func (p *Page) Screenshot(ctx context.Context, path string) error {
	var shot struct {
		Data string `json:"data"`
	}
	if err := p.b.call(ctx, p.session, "Page.captureScreenshot", map[string]any{"format": "png"}, &shot); err != nil {
		return err
	}
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		return fmt.Errorf("screenshot: %w", err)
	}
	return os.WriteFile(path, png, 0o644)
}
