package server

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image/png"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/leverstream/leverstream/extractor"
	appconfig "github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// shots is where to keep pictures of the page, to be looked at.
var shots = flag.String("shots", "", "directory for screenshots of the status page")

// browser returns a context in which chromedp drives a Chromium, and a function that
// returns what went wrong in it since the last call: errors in its console, and requests
// to anything but the given server. Without a Chromium the test is skipped, unless
// TEST_BROWSER says that there must be one.
func browser(t *testing.T, host string) (ctx context.Context, complaints func() []string) {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	switch {
	case path == "" && os.Getenv("TEST_BROWSER") != "":
		t.Fatal("TEST_BROWSER is set, and there is no chromium")
	case path == "":
		t.Skip("there is no chromium; install it to see the status page in a browser")
	case testing.Short():
		t.Skip("a browser takes seconds to start")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
	alloc, stopAlloc := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), opts...)
	ctx, _ = chromedp.NewContext(alloc)
	var mu sync.Mutex
	var heard []string
	err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			heard = append(heard, e.Entry.Text)
		case *runtime.EventExceptionThrown:
			heard = append(heard, e.ExceptionDetails.Text)
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(e.Request.URL); err != nil || u.Host != host && u.Scheme != "data" {
				heard = append(heard, "request to "+e.Request.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	limited, cancel := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(func() {
		if err := chromedp.Cancel(limited); err != nil { // waits for the process
			t.Error(err)
		}
		cancel()
		stopAlloc()
	})
	return limited, func() []string {
		mu.Lock()
		defer mu.Unlock()
		said := heard
		heard = nil
		return said
	}
}

// look opens the page as it is on a screen of the given width, in light or dark.
func look(ctx context.Context, t *testing.T, address, scheme string, width int64) {
	t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 800), chromedp.Navigate(address), chromedp.WaitVisible("#tables")); err != nil {
		t.Fatal(err)
	}
}

// get runs an action in the browser and returns its value.
func get[T any](ctx context.Context, t *testing.T, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// faint returns the texts whose contrast to what is behind them is below 4.5, which is
// what WCAG 2 asks for (level AA).
const faint = `(() => {
	const rgb = s => s.match(/[\d.]+/g).map(Number);
	const light = c => { const l = c.slice(0, 3).map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 }); return .2126 * l[0] + .7152 * l[1] + .0722 * l[2] };
	const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c } return [255, 255, 255] };
	const out = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	let seen = 0;
	while (walk.nextNode()) {
		const text = walk.currentNode.data.trim(), e = walk.currentNode.parentElement;
		if (!text || !e.getClientRects().length || e.tagName === 'PROGRESS') continue;
		seen++;
		const a = light(rgb(getComputedStyle(e).color)), b = light(behind(e)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) out.push(text.slice(0, 40) + ': ' + ratio.toFixed(1));
	}
	if (seen < 50) out.push('only ' + seen + ' texts are shown');
	return out;
})()`

// The page can be read on a phone and on a wide screen, in light and in the dark, with
// anything from nothing to everything in trouble.
func TestThePageCanBeReadEverywhere(t *testing.T) {
	source := scene(0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler(config(source, &helm{})).ServeHTTP(w, r)
	}))
	defer server.Close()
	ctx, complaints := browser(t, strings.TrimPrefix(server.URL, "http://"))
	scenes := map[string]*fake{"loading": loading()}
	for _, troubled := range []int{0, 1, 16} {
		scenes[fmt.Sprintf("%d-in-trouble", troubled)] = scene(troubled)
	}
	for what, shown := range scenes {
		source = shown
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1280} {
				name := fmt.Sprintf("%s-%s-%d", what, scheme, width)
				look(ctx, t, server.URL+"/", scheme, width)
				if wide := get(ctx, t, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); wide > width {
					t.Errorf("%s: %d pixels wide, it must be scrolled sideways", name, wide)
				}
				dark := get(ctx, t, chromedp.Evaluate[bool]("getComputedStyle(document.body).backgroundColor === 'rgb(16, 18, 20)'"))
				if dark != (scheme == "dark") {
					t.Errorf("%s: the background is that of the other scheme", name)
				}
				for _, u := range get(ctx, t, chromedp.Evaluate[[]string](faint)) {
					t.Errorf("%s: too little contrast: %s", name, u)
				}
				for _, c := range complaints() {
					t.Errorf("%s: the browser says: %s", name, c)
				}
				keep(t, name, get(ctx, t, chromedp.FullScreenshot(100)))
			}
		}
	}
}

// keep keeps a picture if somebody wants to look at it.
func keep(t *testing.T, name string, picture []byte) {
	t.Helper()
	if _, err := png.DecodeConfig(bytes.NewReader(picture)); err != nil {
		t.Errorf("%s: no picture: %v", name, err)
	}
	if *shots == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), picture, 0o600); err != nil {
		t.Error(err)
	}
}

// A page of another site cannot steer, whatever it has the browser send.
func TestAPageOfAnotherSiteCannotSteer(t *testing.T) {
	h := &helm{}
	server := httptest.NewServer(handler(config(scene(0), h)))
	defer server.Close()
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method="post" action="%s/tables/stages/pause"><button id="b">win</button></form>`, server.URL)
	}))
	defer evil.Close()
	ctx, _ := browser(t, "")
	if err := chromedp.Do(ctx, chromedp.Navigate(evil.URL), chromedp.Click("#b"), chromedp.WaitNotPresent("#b")); err != nil {
		t.Fatal(err)
	}
	answered := get(ctx, t, chromedp.Text("body"))
	if len(h.told) > 0 || !strings.Contains(answered, "pages of other sites are refused") {
		t.Errorf("told %v, answered %s", h.told, answered)
	}
}

// The whole program: a simulated Lever is replicated into an embedded broker, and the
// browser shows how it goes, while it is steered.
func TestTheProgramInABrowser(t *testing.T) {
	lever := sandbox.New(sandbox.Options{Opportunities: 20, Seed: 9})
	api := httptest.NewServer(lever)
	defer api.Close()
	c := kafkatest.Embedded(t)
	for k, v := range map[string]string{
		"LEVER_API_URL": api.URL + "/v1", "LEVER_TOKEN": "a-secret-token", "LEVER_RATE": "1000", "LEVER_BURST": "100", "LEVER_ACCOUNT": "acme",
		"KAFKA_BROKERS": strings.Join(c.Brokers, ","), "SCHEMA_REGISTRY_URL": c.RegistryURL, "KAFKA_REPLICATION_FACTOR": "1",
		"STATE_DIR": t.TempDir(), "POLL_INTERVAL": "100ms", "REFRESH_INTERVAL": "200ms",
	} {
		t.Setenv(k, v)
	}
	settings, err := appconfig.Load(extractor.Tables(), appconfig.NeedLever|appconfig.NeedKafka|appconfig.NeedRegistry)
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.New(*settings, pipeline.Options{Version: "test", Instance: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler(Config{Source: p, Metrics: p.Metrics(), Steering: p, Logger: slog.New(slog.DiscardHandler)}))
	defer server.Close()
	ctx, complaints := browser(t, strings.TrimPrefix(server.URL, "http://"))

	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(running) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	// shows opens the page again and again until the element's text holds what is wanted.
	shows := func(element, want string) {
		t.Helper()
		var text string
		for ctx.Err() == nil && !strings.Contains(text, want) {
			look(ctx, t, server.URL+"/", "light", 1280)
			text = get(ctx, t, chromedp.Evaluate[string]("(document.querySelector('"+element+"') || {innerText: ''}).innerText"))
		}
		if !strings.Contains(text, want) {
			t.Fatalf("%s shows %q, not %q", element, text, want)
		}
	}
	const stages = "#table-stages"
	shows("#banner", "Replicating 16 tables")
	shows("#account", "acme")
	shows(stages, "streaming")
	steer(t, server.URL+"/tables/stages/pause")
	shows(stages, "paused")
	shows("#banner", "Replicating")
	steer(t, server.URL+"/tables/stages/resume")
	shows(stages, "streaming")
	lever.SetFaults(sandbox.Faults{Status: map[string]int{"/users": http.StatusForbidden}})
	shows(".problem", "Give the key the permission")
	for _, c := range complaints() {
		t.Error("the browser says:", c)
	}
	for _, path := range []string{"/", "/status", "/metrics", "/livez", "/readyz", "/bookmarks"} {
		_, _, text := request(t, http.MethodGet, server.URL+path)
		for _, private := range append(people(t, lever), "a-secret-token") {
			if strings.Contains(text, private) {
				t.Errorf("%s shows %q", path, private)
			}
		}
	}
}

// people are the names and addresses of the sandbox.
func people(t *testing.T, lever *sandbox.Lever) (out []string) {
	t.Helper()
	for _, row := range lever.Truth("opportunities") {
		name, _ := row["name"].(string)
		emails, _ := row["emails"].([]any)
		for _, v := range append(emails, any(name)) {
			if text, _ := v.(string); len(text) > 3 {
				out = append(out, text)
			}
		}
	}
	if len(out) < 20 {
		t.Errorf("only %d names and addresses to look for", len(out))
	}
	return out
}

func steer(t *testing.T, address string) {
	t.Helper()
	if status, _, body := request(t, http.MethodPost, address); status != http.StatusOK {
		t.Fatalf("%s: %d %s", address, status, body)
	}
}
