package webdemo_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/hark-push/hark/servertest"
)

var shots = flag.String("shots", "", "write screenshots of the page into this `directory`")

// patience bounds every wait for something that must happen. Nothing waits this long
// when all is well.
const patience = 3 * time.Minute

// TestDemo uses the page in a real browser against the real gateway. To use one that
// runs already, set HARK_DEMO_URL.
func TestDemo(t *testing.T) {
	b := newBrowser(t)
	base := os.Getenv("HARK_DEMO_URL")
	if base == "" {
		base = startGateway(t)
	}
	for _, transport := range []string{"sse", "websocket", "poll"} {
		t.Run("pictures by "+transport, func(t *testing.T) { testPictures(t, b.open(t, base), transport) })
		t.Run("cut by hand on "+transport, func(t *testing.T) { testCutByHand(t, b.open(t, base), transport) })
	}
	for _, transport := range []string{"sse", "websocket"} {
		t.Run("cut by the network on "+transport, func(t *testing.T) {
			proxy := newCutter(t, base)
			p := b.open(t, proxy.url)
			p.networkErrors.Store(true)
			testCutByNetwork(t, p, proxy, transport)
		})
	}
	t.Run("cancel", func(t *testing.T) { testCancel(t, b.open(t, base)) })
	t.Run("question", func(t *testing.T) { testQuestion(t, b.open(t, base)) })
	t.Run("open again", func(t *testing.T) { testOpenAgain(t, b, base) })
	t.Run("keyboard", func(t *testing.T) { testKeyboard(t, b.open(t, base)) })
	t.Run("phone", func(t *testing.T) { testPhone(t, b.open(t, base)) })
	t.Run("stays in view", func(t *testing.T) { testStaysInView(t, b, base) })
	t.Run("batches", func(t *testing.T) { testBatches(t, b, base) })
	t.Run("no percentage", func(t *testing.T) { testNoPercentage(t, b, base) })
	t.Run("documents", func(t *testing.T) { testDocuments(t, b, base) })
	t.Run("webhooks", func(t *testing.T) { testWebhooks(t, b, base) })
	t.Run("content type of webhooks", func(t *testing.T) { testWebhookContentType(t, b, base) })
	t.Run("webhooks by keyboard", func(t *testing.T) { testWebhooksByKeyboard(t, b, base) })
	t.Run("webhooks on a phone", func(t *testing.T) { testWebhooksOnPhone(t, b, base) })
	t.Run("operate", func(t *testing.T) { testOperate(t, b, base) })
	t.Run("operate on a phone", func(t *testing.T) { testOperateOnPhone(t, b, base) })
	t.Run("policy", func(t *testing.T) { testPolicy(t, base) })
	if *shots != "" {
		t.Run("screenshots", func(t *testing.T) { takeScreenshots(t, b, base) })
	}
}

// TestKeyed uses the pages on a gateway that asks who calls.
func TestKeyed(t *testing.T) {
	const key = "hark_demo_0123456789ab"
	keys := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(keys, []byte("- {subject: demo, roles: [client], key: "+key+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	base := startGateway(t, "--keys", keys)
	p := b.open(t, "about:blank")
	p.networkErrors.Store(true) // the first calls are refused, and the browser says so
	p.do(chromedp.Navigate(base))
	p.until(`!document.querySelector('#key').hidden`)
	p.quiet()
	p.shot("key")
	use := func(text string) {
		p.do(chromedp.SetValue(chromedp.CSS("#key input"), text), chromedp.Evaluate[chromedp.Void](`void (window.old = true)`), chromedp.Click(chromedp.CSS("#key button")))
		// The page loads again, which ends what is being evaluated.
		for deadline := time.Now().Add(patience); ; {
			ctx, cancel := context.WithTimeout(p.ctx, patience)
			again, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.old === undefined && document.readyState === 'complete'`))
			cancel()
			if err == nil && again {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the page does not load again: %v", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	use("hark_nobody_0123456789")
	p.until(`!document.querySelector('#key').hidden`)
	// There is something to complain about now.
	p.until(`document.querySelector('#problem').textContent !== ''`)
	p.do(chromedp.Evaluate[chromedp.Void](`sessionStorage.clear()`), chromedp.Navigate(base+"/webhooks.html"))
	p.until(`!document.querySelector('#key').hidden`)
	p.quiet()
	p.do(chromedp.Navigate(base))
	p.until(`!document.querySelector('#key').hidden`)
	use(key)
	for _, transport := range []string{"sse", "websocket", "poll"} {
		testCutByHand(t, p, transport)
	}
	if !eval[bool](p, `document.querySelector('#key').hidden`) {
		t.Error("a key is asked for although there is one")
	}
	p.do(chromedp.Navigate(base + "/webhooks.html"))
	p.until(`document.querySelector('#endpoints-none') !== null && document.querySelector('#key').hidden`)
	p.do(chromedp.SetValue(chromedp.CSS("#url"), "http://127.0.0.1:9/"), chromedp.Click(chromedp.CSS("#create [type=submit]")))
	p.until(`document.querySelectorAll('#endpoints li').length === 1`)

	// Who is no admin sees what is theirs on the page for operators, and why there is no more.
	p.do(chromedp.Navigate(base + "/operate.html"))
	p.until(`document.querySelector('#role').checkVisibility() && document.querySelector('#tab-requests').getAttribute('aria-selected') === 'true'`)
	p.until(`document.querySelectorAll('#requests li').length >= 3 && document.querySelector('#tab-routes').hidden && document.querySelector('#tab-dead').hidden`)
	p.quiet()
}

func testPictures(t *testing.T, p *page, transport string) {
	p.choose(transport)
	p.do(
		chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{picture(t)}),
		chromedp.WaitEnabled(chromedp.CSS("#send-image")),
		chromedp.Click(chromedp.CSS("#send-image")),
	)
	p.until(`document.querySelector('#live').dataset.status === 'succeeded'`)
	p.until(`document.querySelectorAll('#pictures figure').length >= 4`)
	sizes := eval[map[string]int](p, `Object.fromEntries([...document.querySelectorAll('#pictures figure')].map(f => [f.dataset.name, f.querySelector('canvas').width]))`)
	for _, name := range []string{"large", "medium", "small", "thumb"} {
		if sizes[name] == 0 {
			t.Errorf("no picture %q among %v", name, sizes)
		}
	}
	if sizes["large"] <= sizes["medium"] || sizes["medium"] <= sizes["small"] || sizes["small"] <= sizes["thumb"] {
		t.Errorf("the sizes are not in order: %v", sizes)
	}
	blank := eval[bool](p, `[...document.querySelectorAll('#pictures canvas')].some(c => !c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v !== 0))`)
	if blank {
		t.Error("a picture is blank")
	}
	p.sawAll("request.accepted", "request.started", "request.progress", "request.succeeded")
	p.sawProgress()
}

func testCutByHand(t *testing.T, p *page, transport string) {
	p.choose(transport)
	p.sleep(8, "250ms")
	p.until(`document.querySelectorAll('#log [data-type="request.progress"]').length >= 2`)
	p.do(chromedp.Click(chromedp.CSS("#cut")))
	p.until(`document.querySelector('#log .cut') !== null`)
	p.until(`[...document.querySelectorAll('#log .open')].some(n => n.textContent.includes('resuming after event'))`)
	p.until(`document.querySelector('#live').dataset.status === 'succeeded'`)
	p.sawAll("request.accepted", "request.started", "request.progress", "request.succeeded")
	used := eval[string](p, `document.querySelector('#live').dataset.transport`)
	if used != transport {
		t.Errorf("it ended over %s, not %s", used, transport)
	}
}

func testCutByNetwork(t *testing.T, p *page, proxy *cutter, transport string) {
	p.choose(transport)
	proxy.armed.Store(true)
	p.do(
		chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{picture(t)}),
		chromedp.WaitEnabled(chromedp.CSS("#send-image")),
		chromedp.Click(chromedp.CSS("#send-image")),
	)
	p.until(`document.querySelector('#live').dataset.status === 'succeeded'`)
	p.until(`document.querySelectorAll('#pictures figure').length >= 4`)
	p.sawAll("request.accepted", "request.started", "request.succeeded")
	if proxy.armed.Load() {
		t.Error("the connection was never cut")
	}
	lost := eval[bool](p, `document.querySelector('#log .lost') !== null`)
	if !lost {
		t.Error("the page does not say that the connection was lost")
	}
}

func testCancel(t *testing.T, p *page) {
	p.sleep(1000, "100ms")
	p.until(`document.querySelectorAll('#log [data-type="request.progress"]').length >= 1`)
	p.do(chromedp.Click(chromedp.CSS("#cancel")))
	p.until(`document.querySelector('#live').dataset.status === 'canceled'`)
	p.until(`document.querySelector('#cancel').offsetParent === null`)
	p.until(`document.querySelector('#announcer').textContent.includes('canceled')`)
}

// testQuestion: what a request asks stands in the page while it waits, and is answered there.
func testQuestion(t *testing.T, p *page) {
	p.do(chromedp.Click(chromedp.CSS("#tab-sleep")), chromedp.SetValue(chromedp.CSS("#ask"), "How many?"))
	p.sleep(1, "10ms")
	p.until(`document.querySelector('#live').dataset.status === 'waiting'`)
	p.until(`document.querySelector('#question').offsetParent !== null && document.querySelector('#question-text').textContent === 'How many?'`)
	p.do(chromedp.SendKeys(chromedp.CSS("#answer"), "42"+kb.Enter))
	p.until(`document.querySelector('#live').dataset.status === 'succeeded'`)
	p.until(`document.querySelector('#question').hidden && JSON.parse(document.querySelector('#result-text').textContent).answer === 42`)
	p.sawAll("request.accepted", "request.started", "request.waiting", "request.answered", "request.succeeded")
}

func testOpenAgain(t *testing.T, b *browser, base string) {
	p := b.open(t, base)
	p.sleep(2, "50ms")
	p.until(`document.querySelector('#live').dataset.status === 'succeeded'`)
	id := eval[string](p, `location.hash.slice(1)`)
	p.until(fmt.Sprintf(`document.querySelector('#recent [data-id="%s"] .badge')?.textContent === 'succeeded'`, id))

	again := b.open(t, base+"/#"+id)
	again.until(`document.querySelector('#live').dataset.status === 'succeeded'`)
	again.until(`!document.querySelector('#result').hidden`)
	again.sawAll("request.accepted", "request.started", "request.succeeded")

	listed := b.open(t, base)
	listed.do(chromedp.Click(chromedp.CSS(`#recent [data-id="` + id + `"]`)))
	listed.until(`document.querySelector('#live').dataset.status === 'succeeded'`)
}

func testKeyboard(t *testing.T, p *page) {
	p.do(
		chromedp.Focus(chromedp.CSS("#tab-images")),
		chromedp.KeyEvent(kb.ArrowRight),
	)
	p.until(`document.activeElement.id === 'tab-sleep' && !document.querySelector('#pane-sleep').hidden && document.querySelector('#pane-images').hidden`)
	p.do(chromedp.Focus(chromedp.CSS("#steps")), chromedp.SetValue(chromedp.CSS("#steps"), "2"), chromedp.SetValue(chromedp.CSS("#duration"), "50ms"), chromedp.KeyEvent(kb.Enter))
	p.until(`document.querySelector('#live').dataset.status === 'succeeded'`)
	nameless := eval[[]string](p, `[...document.querySelectorAll('button, input, a[href], progress, canvas[role=img]')]
		.filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)`)
	if len(nameless) > 0 {
		t.Errorf("controls without a name: %v", nameless)
	}
	// A form has a role that may not become that of a tab's panel (ARIA in HTML).
	if forms := eval[int](p, `document.querySelectorAll('form[role]').length`); forms > 0 {
		t.Errorf("%d forms have a role that they may not have", forms)
	}
}

func testPhone(t *testing.T, p *page) {
	p.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateScale(2), chromedp.EmulateMobile))
	p.fits()
	p.sleep(10, "500ms") // long enough to be cut
	p.until(`document.querySelectorAll('#log [data-type="request.progress"]').length >= 1`)
	p.visible("phone-working")
	p.do(chromedp.Evaluate[chromedp.Void](`void (document.querySelector('.log').open = true)`), chromedp.Click(chromedp.CSS("#cut")))
	p.fits() // with the longest text that tells of the connection
	p.until(`document.querySelector('#live').dataset.status === 'succeeded'`)
	p.fits()
}

// quiet checks that no error is shown.
func (p *page) quiet() {
	p.t.Helper()
	if text := eval[string](p, `[...document.querySelectorAll('.problem')].map(e => e.textContent).join('')`); text != "" {
		p.t.Errorf("an error is shown although nobody has done anything: %q", text)
	}
}

// post makes a call beside the page, and returns the document that answers.
func post(t *testing.T, url, body string) map[string]any {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Prefer", "respond-async")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var document map[string]any
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil || response.StatusCode != http.StatusAccepted {
		t.Fatalf("%s: %s, %v, %v", url, response.Status, document, err)
	}
	return document
}

// testStaysInView: on a narrow screen, what is added while work runs moves nothing of what is
// looked at. The list of recent requests, which is seen behind the live view here, comes before it
// in the document, so the browser would keep that in place.
func testStaysInView(t *testing.T, b *browser, base string) {
	for range 8 {
		post(t, base+"/v1/requests", `{"route":"sleep","content":{"steps":1,"duration":"1ms"}}`)
	}
	p := b.open(t, base)
	p.until(`document.querySelectorAll('#recent li').length === 8`)
	p.do(chromedp.EmulateViewport(400, 1100, chromedp.EmulateScale(2), chromedp.EmulateMobile))
	p.sleep(30, "250ms")
	p.until(`document.querySelectorAll('#log [data-type="request.progress"]').length >= 1`)
	// Whoever watches it does that.
	p.do(chromedp.Evaluate[chromedp.Void](`void document.querySelector('#live').scrollIntoView()`))
	const top = `document.querySelector('#live').getBoundingClientRect().top`
	if seen := eval[float64](p, `document.querySelector('#recent').getBoundingClientRect().top`); seen > 1100 {
		t.Errorf("the list of recent requests is out of view, at %v, so that this shows nothing", seen)
	}
	before := eval[float64](p, top)
	p.until(`document.querySelectorAll('#timeline li').length >= 12`)
	if after := eval[float64](p, top); after < before-1 || after > before+1 {
		t.Errorf("the live view has moved from %v to %v", before, after)
	}
	p.do(chromedp.Click(chromedp.CSS("#cancel")))
	p.until(`document.querySelector('#live').dataset.status === 'canceled'`)
}

// testBatches: a batch, which has no route, is listed among the newest, and followed.
func testBatches(t *testing.T, b *browser, base string) {
	id := post(t, base+"/v1/batches", `{"requests":[
		{"route":"sleep","content":{"steps":1,"duration":"10ms"}}, {"route":"sleep","content":{"steps":1,"duration":"10ms"}}, {"route":"default","content":1}]}`)["id"].(string)
	p := b.open(t, base)
	p.until(fmt.Sprintf(`document.querySelector('#recent [data-id="%s"] .route')?.textContent === 'batch of 3'`, id))
	p.until(`document.querySelectorAll('#recent li').length >= 4`)
	p.do(chromedp.Click(chromedp.CSS(`#recent [data-id="` + id + `"]`)))
	p.until(`document.querySelector('#percent').textContent === '67' && document.querySelector('#facts').textContent.startsWith('a batch of 3 · 2 succeeded')`)
	p.shot("batch")
	p.do(chromedp.Click(chromedp.CSS("#cancel")))
	p.until(`document.querySelector('#live').dataset.status === 'canceled'`)
	p.until(fmt.Sprintf(`document.querySelector('#recent [data-id="%s"] .badge').textContent === 'canceled'`, id))
}

// testNoPercentage: what has no percentage is not at none.
func testNoPercentage(t *testing.T, b *browser, base string) {
	// Nobody works on its route.
	id := post(t, base+"/v1/requests", `{"content":1}`)["id"].(string)
	p := b.open(t, base+"/#"+id)
	p.until(`document.querySelector('#live').dataset.status === 'pending'`)
	shown := eval[string](p, `document.querySelector('.percent').innerText + '|' + document.title + '|' + document.querySelector('#bar').hasAttribute('value')`)
	if shown != "–|pending · Hark|false" {
		t.Errorf("%q", shown)
	}
	p.shot("no-percentage")
	p.do(chromedp.Click(chromedp.CSS("#cancel")))
	p.until(`document.querySelector('#live').dataset.status === 'canceled'`)
}

// testDocuments: the documents of the interface are shown, not saved.
func testDocuments(t *testing.T, b *browser, base string) {
	for name, begins := range map[string]string{"HTTP API": "openapi: 3.1", "Events": "asyncapi: 3."} {
		p := b.open(t, base)
		p.networkErrors.Store(true) // a document has no icon
		link := eval[string](p, `[...document.querySelectorAll('nav a')].find(a => a.textContent === '`+name+`').href`)
		p.do(chromedp.Navigate(link)) // fails if it is saved
		if text := eval[string](p, `document.contentType + ' ' + document.body.innerText`); !strings.HasPrefix(text, "text/plain "+begins) {
			t.Errorf("%s shows %.80q", name, text)
		}
	}
}

// shot keeps a picture of the page, if that is asked for.
func (p *page) shot(name string) {
	p.t.Helper()
	if *shots == "" {
		return
	}
	png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// visible is shot of what is seen without scrolling.
func (p *page) visible(name string) {
	p.t.Helper()
	if *shots == "" {
		return
	}
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// fits checks that nothing is wider than a phone of 360 px.
func (p *page) fits() {
	p.t.Helper()
	wide := eval[[]string](p, `[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 361 && !e.closest('.hidden, .skip')).map(e => e.tagName + '#' + e.id + '.' + e.className)`)
	if len(wide) > 0 {
		p.t.Errorf("wider than a phone of 360 px: %v", wide)
	}
}

// testPolicy holds the page against a strict policy, whatever the server allows.
func testPolicy(t *testing.T, base string) {
	response, err := http.Get(base + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	policy := response.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'self'") || strings.Contains(policy, "unsafe") {
		t.Errorf("Content-Security-Policy: %q", policy)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`<script(?:[^>](?:[^s>]|s[^r])*)?>\s*[^<\s]|\son\w+=|<style|\sstyle=|https?://[^"]*\.(?:js|css)`).Find(body); m != nil {
		t.Errorf("the page has something inline or foreign: %s", m)
	}
}

func takeScreenshots(t *testing.T, b *browser, base string) {
	for _, s := range []struct {
		name, scheme  string
		width, height int64
	}{{"desktop-light", "light", 1280, 900}, {"desktop-dark", "dark", 1280, 900}, {"phone-light", "light", 360, 740}, {"phone-dark", "dark", 360, 740}} {
		p := b.open(t, base)
		save := func(moment string) {
			png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(*shots, s.name+"-"+moment+".png"), png, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p.do(chromedp.EmulateViewport(s.width, s.height), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: s.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
			}})
			return err
		}))
		p.do(chromedp.Click(chromedp.CSS("#sample")))
		p.until(`!document.querySelector('#chosen').hidden`)
		save("chosen")
		p.do(chromedp.Click(chromedp.CSS("#send-image")))
		p.until(`document.querySelectorAll('#pictures figure').length >= 4`)
		save("pictures")
		p.sleep(6, "300ms")
		p.until(`document.querySelectorAll('#log [data-type="request.progress"]').length >= 3`)
		p.do(chromedp.Click(chromedp.CSS("#cut")), chromedp.Evaluate[chromedp.Void](`void (document.querySelector('.log').open = true)`))
		save("working")
		p.until(`document.querySelector('#live').dataset.status === 'succeeded'`)
		save("done")
		p.do(chromedp.Click(chromedp.CSS("#tab-fetch")), chromedp.SetValue(chromedp.CSS("#address"), "http://127.0.0.1:1/"), chromedp.Click(chromedp.CSS("#pane-fetch button")))
		p.until(`document.querySelector('#live').dataset.status === 'failed'`)
		save("failed")
		takeWebhookScreenshots(t, p, base, save)
		p.complaints = nil
	}
}

// browser is one Chromium.
type browser struct{ ctx context.Context }

func newBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		const missing = "no Chromium on the PATH: install the package chromium (apt-get install chromium) or Google Chrome"
		if os.Getenv("CI") != "" || os.Getenv("HARK_REQUIRE_BROWSER") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.WindowSize(1280, 900))
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("%s does not start: %v", path, err)
	}
	return &browser{ctx}
}

// page is a tab with the page. What it complains about fails the test.
type page struct {
	t             *testing.T
	ctx           context.Context
	networkErrors atomic.Bool // are part of the test

	mu         sync.Mutex
	complaints []string
}

func (b *browser) open(t *testing.T, address string) *page {
	t.Helper()
	p := &page{t: t}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithListener(p.listen))
	p.ctx = ctx
	t.Cleanup(func() {
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, complaint := range p.complaints {
			t.Errorf("the browser complains: %s", complaint)
		}
	})
	// The tab lives as long as the context of the first run.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.Navigate(address))
	return p
}

// listen collects errors, warnings and violations of the content security policy.
func (p *page) listen(event any) {
	complaint := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			complaint += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			for _, arg := range e.Args {
				complaint += string(arg.Value) + arg.Description + " "
			}
		}
	case *log.EventEntryAdded:
		// A page that says of no icon, as one with nothing in it, is asked for this one, whenever
		// that is.
		icon := strings.HasSuffix(e.Entry.URL, "/favicon.ico")
		wanted := icon || p.networkErrors.Load() && (e.Entry.Source == log.EntrySourceNetwork || strings.HasPrefix(e.Entry.Text, "WebSocket connection"))
		if (e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning) && !wanted {
			complaint = fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if complaint != "" {
		p.mu.Lock()
		p.complaints = append(p.complaints, complaint)
		p.mu.Unlock()
	}
}

func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeoutCause(p.ctx, patience, fmt.Errorf("not done within %v", patience))
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%v\n%s", err, p.text())
	}
}

// eval returns the value of an expression in the page.
func eval[T any](p *page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// until waits until a condition holds in the page.
func (p *page) until(condition string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](condition, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(0))); err != nil {
		p.t.Fatalf("never came true: %s: %v\n%s", condition, err, p.text())
	}
}

// text is what the page shows, for failures.
func (p *page) text() string {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText + '\n' + document.querySelector('#log')?.textContent + '\n' + JSON.stringify(window.seen)`))
	p.mu.Lock()
	defer p.mu.Unlock()
	return text + "\n" + strings.Join(p.complaints, "\n")
}

func (p *page) choose(transport string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(`input[name=transport][value=` + transport + `]`)))
}

// sleep submits work that takes steps times as long.
func (p *page) sleep(steps int, each string) {
	p.t.Helper()
	before := eval[string](p, `location.hash`)
	p.do(
		chromedp.Click(chromedp.CSS("#tab-sleep")),
		chromedp.SetValue(chromedp.CSS("#steps"), fmt.Sprint(steps)),
		chromedp.SetValue(chromedp.CSS("#duration"), each),
		chromedp.Click(chromedp.CSS("#pane-sleep button")),
	)
	p.until(`location.hash !== '` + before + `' && !document.querySelector('#request').hidden`)
}

// sawAll checks that every event came exactly once and in order, and that those
// types are among them.
func (p *page) sawAll(types ...string) {
	p.t.Helper()
	type event struct {
		Offset int
		Type   string
	}
	events := eval[[]event](p, `[...document.querySelectorAll('#log [data-offset]')].reverse().map(e => ({Offset: Number(e.dataset.offset), Type: e.dataset.type}))`)
	seen := map[string]bool{}
	for i, e := range events {
		seen[e.Type] = true
		if i > 0 && e.Offset <= events[i-1].Offset {
			p.t.Errorf("event %d came after event %d", e.Offset, events[i-1].Offset)
		}
	}
	if len(events) > 0 && (events[0].Offset != 1 || events[len(events)-1].Offset != len(events)) {
		p.t.Errorf("there are gaps: %v", events)
	}
	for _, each := range types {
		if !seen[each] {
			p.t.Errorf("no %s among %v", each, events)
		}
	}
}

// sawProgress checks that steps were shown.
func (p *page) sawProgress() {
	p.t.Helper()
	steps := eval[[]string](p, `[...document.querySelectorAll('#timeline .progress .label')].map(e => e.textContent)`)
	if len(steps) == 0 {
		p.t.Error("no step was shown")
	}
}

// picture writes a picture that takes a moment to resize and returns its path.
func picture(t *testing.T) string {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, 2400, 1800))
	for y := range 1800 {
		for x := range 2400 {
			m.SetRGBA(x, y, color.RGBA{R: uint8(x / 10), G: uint8(y / 8), B: uint8(x ^ y), A: 255})
		}
	}
	path := filepath.Join(t.TempDir(), "picture.jpg")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := jpeg.Encode(file, m, nil); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// cutter is a proxy that, once armed, cuts the next stream of events behind the
// event that tells that the work was started. It also cuts those that there are when it is told to.
type cutter struct {
	url   string
	armed atomic.Bool

	mu      sync.Mutex
	streams []func() // each cuts one
}

// cut cuts all streams, and returns how many it has cut.
func (c *cutter) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.streams)
	for _, cut := range c.streams {
		cut()
	}
	c.streams = nil
	return n
}

func newCutter(t *testing.T, base string) *cutter {
	t.Helper()
	target := strings.TrimPrefix(base, "http://")
	c := &cutter{}
	ctx, cancel := context.WithCancel(context.Background())
	c.url = "http://" + servertest.Serve(t, func(client net.Conn) { c.carry(ctx, client, target) })
	t.Cleanup(cancel) // the browser keeps connections
	return c
}

// carry copies bytes both ways until either side ends, or until it cuts.
func (c *cutter) carry(ctx context.Context, client net.Conn, target string) {
	server, err := net.Dial("tcp", target)
	if err != nil {
		_ = client.Close()
		return
	}
	end := sync.OnceFunc(func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer context.AfterFunc(ctx, end)()
	var up sync.WaitGroup
	up.Go(func() {
		defer end()
		_, _ = io.Copy(server, client)
	})
	stream := false
	reader := bufio.NewReaderSize(server, 64<<10)
	buffer := make([]byte, 64<<10)
	for {
		n, err := reader.Read(buffer)
		chunk := buffer[:n]
		if !stream && (bytes.Contains(chunk, []byte("text/event-stream")) || bytes.Contains(chunk, []byte(" 101 "))) {
			stream = true
			c.mu.Lock()
			c.streams = append(c.streams, end)
			c.mu.Unlock()
		}
		_, writeErr := client.Write(chunk)
		if stream && bytes.Contains(chunk, []byte(`"type":"request.started"`)) && c.armed.CompareAndSwap(true, false) {
			break
		}
		if err != nil || writeErr != nil {
			break
		}
	}
	end()
	up.Wait()
}

// startGateway builds the gateway, starts it on a free port and returns its address.
func startGateway(t *testing.T, arguments ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "hark")
	build := exec.Command("go", "build", "-o", binary, "github.com/hark-push/hark/gateway")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	gateway := exec.Command(binary, append(arguments, "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--webhook-allow-cidrs", "127.0.0.0/8", "--webhook-allow-http")...)
	var logged bytes.Buffer
	gateway.Stderr = &logged
	out, err := gateway.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	address := make(chan string, 1)
	reading.Go(func() {
		defer close(address)
		lines := bufio.NewScanner(out)
		pattern := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
		for lines.Scan() {
			if found := pattern.FindString(lines.Text()); found != "" {
				select {
				case address <- found:
				default:
				}
			}
		}
	})
	t.Cleanup(func() {
		_ = gateway.Process.Signal(os.Interrupt)
		killer := time.AfterFunc(patience, func() { _ = gateway.Process.Kill() })
		reading.Wait()
		_ = gateway.Wait()
		killer.Stop()
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", logged.String())
		}
	})
	select {
	case found, ok := <-address:
		if !ok {
			t.Fatal("the gateway ended without telling its address")
		}
		return found
	case <-time.After(patience):
		t.Fatal("the gateway does not tell its address")
		return ""
	}
}
