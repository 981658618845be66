package webdemo_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// caller calls a gateway with a key.
type caller struct {
	t         *testing.T
	base, key string
}

func (c caller) call(method, path, body string) (document struct {
	ID    string
	Links []struct{ Rel, Href string }
},
) {
	c.t.Helper()
	r, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + c.key}, "Prefer": {"respond-async"}}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		c.t.Fatalf("%s %s: %s, %v: %s", method, path, res.Status, err, text)
	}
	if err := json.Unmarshal(text, &document); err != nil {
		c.t.Fatalf("%v: %s", err, text)
	}
	return document
}

// TestNativeEventSource follows with nothing but the browser's own EventSource, with a ticket that
// expires meanwhile, over a network that cuts: it comes back by itself, to the URL that it has, and
// gets every event once, and the end. A feed that is cut before its first event loses nothing
// either.
func TestNativeEventSource(t *testing.T) {
	const clientKey, workerKey = "hark_demo_0123456789ab", "hark_work_0123456789ab"
	keys := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(keys, []byte("- {subject: demo, roles: [client], key: "+clientKey+"}\n- {subject: work, roles: [processor], key: "+workerKey+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	base := startGateway(t, "--keys", keys, "--ticket-life", "4s", "--retry", "100ms", "--drain", "100ms", "--samples=false")
	client, worker := caller{t, base, clientKey}, caller{t, base, workerKey}
	proxy := newCutter(t, base)
	p := b.open(t, proxy.url+"/health/live") // of the gateway's origin, with nothing in it
	p.networkErrors.Store(true)
	request := client.call("POST", "/v1/requests?ticket=true", `{"content":1}`)
	links := make(map[string]string)
	for _, link := range request.Links {
		links[link.Rel] = link.Href
	}
	address, err := url.Parse(links["events"])
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(address.Query().Get("ticket"), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Exp int64
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}

	follow := func(name, link string) {
		p.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`void (() => {
			const all = window.%s = { ids: [], opened: 0, named: [] };
			const source = all.source = new EventSource(%q);
			source.onopen = () => all.opened++;
			source.onmessage = (e) => all.ids.push(e.lastEventId + ' ' + JSON.parse(e.data).type);
			for (const name of ['start', 'end']) source.addEventListener(name, (e) => all.named.push(name + e.lastEventId + e.data));
		})()`, name, link)))
	}
	follow("one", links["events"])
	p.until(`one.ids.length === 1`)
	worker.call("POST", "/v1/work/"+request.ID+"/start", "")
	p.until(`one.ids.length === 2`)
	for deadline := time.Now().Add(patience); time.Now().Before(time.Unix(claims.Exp, 0).Add(50 * time.Millisecond)); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the ticket does not expire")
		}
	}
	for n := range 3 {
		if proxy.cut() == 0 {
			t.Fatal("there is no stream to cut")
		}
		worker.call("POST", "/v1/work/"+request.ID+"/progress", fmt.Sprintf(`{"percent":%d}`, 10*(n+1)))
		p.until(fmt.Sprintf(`one.opened === %d && one.ids.length === %d`, n+2, n+3))
	}
	proxy.cut()
	worker.call("POST", "/v1/work/"+request.ID+"/complete", "")
	p.until(`one.named.some((name) => name.startsWith('end'))`)
	got := eval[string](p, `one.ids.join() + ' ' + one.named.join()`)
	if want := `1 request.accepted,2 request.started,3 request.progress,4 request.progress,5 request.progress,6 request.succeeded ` +
		`start0{"offset":0},start2{"offset":2},start3{"offset":3},start4{"offset":4},start5{"offset":5},end6{"offset":6}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	// A page learns from the close code that its proof does not hold.
	for protocol, want := range map[string]string{"bearer.nope": "4502 true", "": "4503 true"} {
		link, offered := links["socket"], `["hark.v1"]`
		if protocol != "" {
			link, offered = "/v1/ws", `["hark.v1","`+protocol+`"]`
		}
		p.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`void (() => {
			window.told = '';
			new WebSocket(new URL(%q, location.href.replace(/^http/, 'ws')).href, %s).onclose = (e) => { window.told = e.code + ' ' + e.wasClean; };
		})()`, link, offered)))
		p.until(`window.told !== ''`)
		if got := eval[string](p, `window.told`); got != want {
			t.Errorf("the page is told %s, want %s", got, want)
		}
	}
}

// TestNativeFeed: a feed that is cut before its first event loses nothing.
func TestNativeFeed(t *testing.T) {
	b := newBrowser(t)
	base := startGateway(t, "--retry", "100ms", "--drain", "100ms", "--samples=false")
	proxy := newCutter(t, base)
	p := b.open(t, proxy.url+"/health/live")
	p.networkErrors.Store(true)
	p.do(chromedp.Evaluate[chromedp.Void](`void (() => {
		window.ids = []; window.started = 0;
		const source = new EventSource('/v1/topics/t/events');
		source.onmessage = (e) => ids.push(e.lastEventId);
		source.addEventListener('start', () => started++);
	})()`))
	p.until(`started === 1`)
	if n := proxy.cut(); n != 1 {
		t.Errorf("%d streams were cut", n)
	}
	caller{t, base, "none"}.call("POST", "/v1/requests", `{"content":1,"topic":"t"}`)
	p.until(`ids.length === 1 && started === 2`)
}
