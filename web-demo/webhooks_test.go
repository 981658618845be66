package webdemo_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// receiver is an endpoint of webhooks. It fails while it is told to, and takes application/json
// only when it is picky.
type receiver struct {
	*httptest.Server
	failing atomic.Bool
	picky   atomic.Bool
	got     atomic.Int64
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.got.Add(1)
		if r.picky.Load() && !strings.HasPrefix(q.Header.Get("Content-Type"), "application/json") {
			w.WriteHeader(http.StatusUnsupportedMediaType)
			return
		}
		if r.failing.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprint(w, "The till is closed: "+strings.Repeat("no-entry-", 40))
			return
		}
		_, _ = fmt.Fprint(w, "thank you")
	}))
	t.Cleanup(r.Close)
	return r
}

// submitted makes a request that nobody works on, which has one event.
func submitted(t *testing.T, base string) {
	t.Helper()
	q, err := http.NewRequest(http.MethodPost, base+"/v1/requests", strings.NewReader(`{"content":1,"route":"default"}`))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Prefer", "respond-async")
	response, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		t.Fatalf("submitted: %d", response.StatusCode)
	}
}

// register makes an endpoint with the page's form, by keyboard alone.
func (p *page) register(url string) {
	p.t.Helper()
	p.do(chromedp.Focus(chromedp.CSS("#url")), chromedp.KeyEvent(url), chromedp.KeyEvent(kb.Enter))
	p.until(`!document.querySelector('#chosen').hidden && document.querySelector('#secret-text').textContent.startsWith('whsec_')`)
	p.until(`document.querySelector('#endpoint-url').textContent === '` + url + `' && document.querySelector('#endpoints [aria-current=true]') !== null`)
}

const deliveries = `[...document.querySelectorAll('#deliveries > li')]`

// states waits until the deliveries that are listed stand like this, the newest first.
func (p *page) states(want ...string) {
	p.t.Helper()
	p.until(deliveries + `.map(each => each.querySelector('.badge').textContent).join(' ') === '` + strings.Join(want, " ") + `'`)
}

func testWebhooks(t *testing.T, b *browser, base string) {
	r := newReceiver(t)
	p := b.open(t, base+"/webhooks.html")
	p.register(r.URL + "/hook")
	p.until(`document.querySelector('#deliveries-none').checkVisibility()`)
	submitted(t, base)
	p.states("delivered")
	p.do(chromedp.Click(chromedp.CSS("#test")))
	p.states("delivered", "delivered")

	// One of them in full, and once more.
	p.do(chromedp.Click(chromedp.CSS("#deliveries > li:first-child summary")))
	p.until(`document.querySelector('#deliveries .attempts ol b')?.textContent === '200'`)
	p.until(`document.querySelector('#deliveries .attempts pre').textContent === 'thank you'`)
	p.do(chromedp.Click(chromedp.CSS("#deliveries [data-resend]")))
	p.until(`document.querySelectorAll('#deliveries > li:first-child details[open] .attempts ol > li').length === 2`)
	p.until(`document.querySelector('#deliveries .tries').textContent === '2 attempts'`)
	if n := r.got.Load(); n != 3 {
		t.Errorf("%d attempts arrived", n)
	}

	p.do(chromedp.Click(chromedp.CSS("#pause")))
	p.until(`document.querySelector('#status').textContent === 'paused' && document.querySelector('#pause').hidden && document.querySelector('#test').disabled`)
	submitted(t, base)
	p.states("waiting", "delivered", "delivered")
	p.do(chromedp.Click(chromedp.CSS("#resume")))
	p.until(`document.querySelector('#status').textContent === 'active' && document.querySelector('#resume').hidden`)
	p.states("delivered", "delivered", "delivered")
	p.do(chromedp.SetValue(chromedp.CSS("#state"), "dead"), chromedp.Evaluate[chromedp.Void](`void document.querySelector('#state').dispatchEvent(new Event('change'))`))
	p.states()

	// A secret is shown once; and what is wrong is told.
	before := eval[string](p, `document.querySelector('#secret-text').textContent`)
	p.do(chromedp.Click(chromedp.CSS("#rotate")))
	p.until(`document.querySelector('#secret-text').textContent !== '` + before + `'`)
	again := b.open(t, base+"/webhooks.html"+eval[string](p, `location.hash`))
	again.until(`document.querySelector('#endpoint-url').textContent === '` + r.URL + `/hook' && document.querySelector('#secret').hidden`)
	again.networkErrors.Store(true) // the browser tells of a 422
	again.do(chromedp.Focus(chromedp.CSS("#url")), chromedp.KeyEvent("https://10.0.0.1/"), chromedp.KeyEvent(kb.Enter))
	again.until(`document.querySelector('#problem').textContent.includes('public internet')`)
}

// testWebhookContentType: a receiver that does not take what is sent by default is no riddle, and
// an endpoint can be made that it takes.
func testWebhookContentType(t *testing.T, b *browser, base string) {
	r := newReceiver(t)
	r.picky.Store(true)
	p := b.open(t, base+"/webhooks.html")
	p.register(r.URL + "/picky")
	p.until(`document.querySelector('#health').textContent.includes('cloudevents+json')`)
	p.do(chromedp.Click(chromedp.CSS("#test")))
	p.states("waiting")
	p.do(chromedp.Click(chromedp.CSS("#deliveries summary")))
	p.until(`document.querySelector('#deliveries .attempts ol b')?.textContent === '415'`)
	p.until(`document.querySelector('#deliveries .attempts ol .hint').textContent.includes('application/cloudevents+json; charset=utf-8')`)

	p.do(chromedp.Evaluate[chromedp.Void](`void (document.querySelector('#url').value = '')`), chromedp.SetValue(chromedp.CSS("#content-type"), "application/json"))
	p.register(r.URL + "/plain")
	p.until(`document.querySelector('#health').textContent.includes('Sent asjson')`)
	p.do(chromedp.Click(chromedp.CSS("#test")))
	p.states("delivered")
	p.do(chromedp.Click(chromedp.CSS("#deliveries summary")))
	p.until(`document.querySelector('#deliveries .attempts ol b')?.textContent === '200' && !document.querySelector('#deliveries .attempts ol .hint')`)
}

func testWebhooksByKeyboard(t *testing.T, b *browser, base string) {
	r := newReceiver(t)
	r.failing.Store(true)
	p := b.open(t, base+"/webhooks.html")
	p.register(r.URL + "/till")
	submitted(t, base)
	p.states("waiting")
	p.do(chromedp.Focus(chromedp.CSS("#deliveries summary")), chromedp.KeyEvent(kb.Enter))
	p.until(`document.querySelector('#deliveries .attempts ol b')?.textContent === '500'`)
	for range 5 { // past the responses, which can be scrolled
		p.do(chromedp.KeyEvent(kb.Tab))
		if eval[bool](p, `document.activeElement.dataset.resend !== undefined`) {
			break
		}
	}
	submitted(t, base) // the list changes, and who is in it stays where he is
	p.states("waiting", "waiting")
	p.until(`document.activeElement.dataset.resend !== undefined`)
	r.failing.Store(false)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.until(deliveries + `[1].querySelector('.badge').textContent === 'delivered'`)
	p.until(`document.activeElement.closest('#deliveries > li') === ` + deliveries + `[1]`)
	nameless := eval[[]string](p, `[...document.querySelectorAll('button, input, select, summary, a[href], pre[tabindex]')]
		.filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)`)
	if len(nameless) > 0 {
		t.Errorf("controls without a name: %v", nameless)
	}
}

func testWebhooksOnPhone(t *testing.T, b *browser, base string) {
	r := newReceiver(t)
	r.failing.Store(true)
	p := b.open(t, base+"/webhooks.html")
	p.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateScale(2), chromedp.EmulateMobile))
	p.fits()
	p.register(r.URL + "/" + strings.Repeat("a-long-path", 20))
	submitted(t, base)
	p.states("waiting")
	p.do(chromedp.Click(chromedp.CSS("#deliveries summary")))
	p.until(`document.querySelector('#deliveries .attempts pre') !== null`)
	p.do(chromedp.Click(chromedp.CSS("#deliveries details details summary")))
	if wide := eval[int](p, `document.documentElement.scrollWidth`); wide > 360 {
		t.Errorf("it scrolls sideways: %d px, by %v", wide, eval[[]string](p, `[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 360 || e.scrollWidth > 360).map(e => e.tagName + '#' + e.id + '.' + e.className + ' ' + e.getBoundingClientRect().right)`))
	}
}

// takeWebhookScreenshots shows an endpoint that fails, with a delivery unfolded.
func takeWebhookScreenshots(t *testing.T, p *page, base string, save func(moment string)) {
	r := newReceiver(t)
	p.do(chromedp.Navigate(base + "/webhooks.html"))
	p.register(r.URL + "/hooks/till")
	submitted(t, base)
	p.states("delivered")
	r.failing.Store(true)
	p.do(chromedp.Click(chromedp.CSS("#test")))
	p.states("waiting", "delivered")
	p.do(chromedp.Click(chromedp.CSS("#deliveries summary")))
	p.until(`document.querySelector('#deliveries .attempts ol b')?.textContent === '500'`)
	save("webhooks")
}
