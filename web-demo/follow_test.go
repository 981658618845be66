package webdemo_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/hark-push/hark/docs"
	"github.com/hark-push/hark/servertest"
)

// wire is a proxy that counts the connections that followers hold, and that can stop passing things
// on without closing anything, as one does whose other side has gone.
type wire struct {
	url     string
	streams atomic.Int64 // event streams that are open
	sockets atomic.Int64 // WebSockets that are open
	refuses atomic.Bool  // WebSockets, with 403
	holds   atomic.Bool  // event streams: what comes behind their head
	sheds   atomic.Int64 // event streams, so many, with 503
	// swallowed counts the connections of which something was held back since they fell silent:
	// nothing more will come of those.
	swallowed atomic.Int64

	mu   sync.Mutex
	ends []func()      // each cuts a connection that is held
	mute chan struct{} // closed when things are passed on again; nil if they are
	made []string      // the first line of each call for a stream or a WebSocket
}

func newWire(t *testing.T, base string) *wire {
	t.Helper()
	w := &wire{}
	ctx, cancel := context.WithCancel(context.Background())
	target := strings.TrimPrefix(base, "http://")
	w.url = "http://" + servertest.Serve(t, func(client net.Conn) { w.carry(ctx, client, target) })
	t.Cleanup(cancel)
	return w
}

// silence stops all that is open now; what is made later works.
func (w *wire) silence() (end func()) {
	mute := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mute = mute
	return sync.OnceFunc(func() { close(mute) })
}

// cut cuts all connections that are held.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, end := range w.ends {
		end()
	}
	w.ends = nil
}

// over lets connections that are made from now on pass.
func (w *wire) over() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mute = nil
}

func (w *wire) muted() chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mute
}

func (w *wire) carry(ctx context.Context, client net.Conn, target string) {
	server, err := net.Dial("tcp", target)
	if err != nil {
		_ = client.Close()
		return
	}
	var kind atomic.Pointer[atomic.Int64]
	end := sync.OnceFunc(func() {
		_ = client.Close()
		_ = server.Close()
		if of := kind.Swap(nil); of != nil {
			of.Add(-1)
		}
	})
	defer context.AfterFunc(ctx, end)()
	// A connection that was there when all fell silent stays so.
	pass := func(from io.Reader, to io.Writer, see func([]byte) bool) {
		defer end()
		reader, buffer := bufio.NewReaderSize(from, 64<<10), make([]byte, 64<<10)
		for {
			n, err := reader.Read(buffer)
			if mute := w.muted(); mute != nil {
				if to == client {
					w.swallowed.Add(1)
				}
				select {
				case <-mute:
				case <-ctx.Done():
				}
				return
			}
			if !see(buffer[:n]) {
				<-ctx.Done()
				return
			}
			if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
				return
			}
		}
	}
	var up sync.WaitGroup
	up.Go(func() {
		pass(client, server, func(b []byte) bool {
			head, _, _ := bytes.Cut(b, []byte("\r\n"))
			if bytes.Contains(bytes.ToLower(b), []byte("upgrade: websocket")) {
				w.note(string(head))
				if w.refuses.Load() {
					_, _ = io.WriteString(client, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
					end()
				}
			} else if bytes.Contains(b, []byte("text/event-stream")) && bytes.HasPrefix(b, []byte("GET ")) {
				w.note(string(head))
				if w.sheds.Load() > 0 && w.sheds.Add(-1) >= 0 {
					_, _ = io.WriteString(client, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
					end()
				}
			}
			return true
		})
	})
	pass(server, client, func(b []byte) bool {
		of := kind.Load()
		switch {
		case of != nil:
			return of != &w.streams || !w.holds.Load()
		case bytes.HasPrefix(b, []byte("HTTP/1.1 101 ")):
			of = &w.sockets
		case bytes.Contains(b, []byte("Content-Type: text/event-stream")):
			if of = &w.streams; w.holds.Load() {
				head, _, _ := bytes.Cut(b, []byte("\r\n\r\n"))
				_, _ = client.Write(append(slices.Clone(head), "\r\n\r\n"...))
				return false
			}
		default:
			return true
		}
		of.Add(1)
		kind.Store(of)
		w.mu.Lock()
		w.ends = append(w.ends, end)
		w.mu.Unlock()
		return true
	})
	up.Wait()
}

func (w *wire) note(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made = append(w.made, line)
}

func (w *wire) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.made)
}

// eventually waits for a condition outside of the page.
func (p *page) eventually(what string, condition func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("never came true: %s\n%s", what, p.text())
		}
	}
}

// blank opens a page of an origin with nothing in it but the module, as `hark`, and what follows
// requests and keeps what it is told.
func (b *browser) blank(t *testing.T, origin string) *page {
	t.Helper()
	p := b.open(t, origin+"/health/live")
	p.networkErrors.Store(true)
	p.equip("undefined")
	return p
}

// arrives is until for a page that is navigated to, or comes out of the cache: what waits within
// the page does not survive that.
func (p *page) arrives(condition string) {
	p.t.Helper()
	p.eventually(condition, func() bool {
		ctx, cancel := context.WithTimeout(p.ctx, patience)
		defer cancel()
		there, err := chromedp.Run(ctx, chromedp.Evaluate[bool](condition))
		return err == nil && there
	})
}

// equip brings the module into the page that is there now. worker is the option of that name.
func (p *page) equip(worker string) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](`void import('/hark.js').then((hark) => {
		window.hark = hark;
		window.client = hark.createClient({ worker: ` + worker + ` });
		window.seen = {};
		window.follow = (id, options = {}) => {
			const all = seen[id] = { offsets: [], states: [], end: null, resets: 0 };
			all.follower = client.follow(id, {
				...options,
				onEvent: (event, offset) => all.offsets.push(offset),
				onReset: () => all.resets++,
				onState: ({ state, transport }) => all.states.push(transport + ' ' + state),
				onEnd: (document, error) => { all.end = document?.status ?? String(error); },
			});
		};
		// Everything once, in order, without a gap.
		window.whole = (id, n) => seen[id].offsets.join() === Array.from({ length: n }, (_, i) => i + 1).join() && seen[id].resets === 0;
		window.open = (id) => seen[id].states.at(-1)?.endsWith(' open');
	})`))
	p.arrives(`window.whole !== undefined`)
}

func (p *page) follow(ids ...string) {
	p.t.Helper()
	for _, id := range ids {
		p.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`void follow(%q)`, id)))
	}
}

// work is somebody who submits, and who works by hand.
type work struct{ caller }

func (w work) submit(n int) (ids []string) {
	w.t.Helper()
	for range n {
		ids = append(ids, w.call("POST", "/v1/requests", `{"content":1}`).ID)
	}
	return ids
}

func (w work) start(id string)    { w.t.Helper(); w.call("POST", "/v1/work/"+id+"/start", "") }
func (w work) complete(id string) { w.t.Helper(); w.call("POST", "/v1/work/"+id+"/complete", "") }
func (w work) progress(id string, percent int) {
	w.t.Helper()
	w.call("POST", "/v1/work/"+id+"/progress", fmt.Sprintf(`{"percent":%d}`, percent))
}

// TestManyFollowers: however many followers a page has, what it does beside them goes through at
// once.
func TestManyFollowers(t *testing.T) {
	b := newBrowser(t)
	base := startGateway(t, "--drain", "100ms", "--samples=false", "--heartbeat", "1s", "--retry", "100ms")
	for _, worker := range []string{"undefined", "false"} {
		for _, refuses := range []bool{false, true} {
			t.Run(fmt.Sprintf("worker %s, no WebSocket %v", worker, refuses), func(t *testing.T) {
				w := work{caller{t, base, "none"}}
				proxy := newWire(t, base)
				proxy.refuses.Store(refuses)
				p := b.open(t, proxy.url+"/health/live")
				p.networkErrors.Store(true)
				p.equip(worker)
				ids := w.submit(12)
				p.follow(ids...)
				p.until(`Object.keys(seen).length === 12 && Object.keys(seen).every((id) => open(id) && whole(id, 1))`)
				if streams, sockets := proxy.streams.Load(), proxy.sockets.Load(); refuses && (streams > 3 || sockets > 0) || !refuses && (streams > 1 || sockets != 1) {
					t.Errorf("%d streams and %d WebSockets are open", streams, sockets)
				}
				p.do(chromedp.Evaluate[chromedp.Void](`void (async () => { window.canceled = (await client.cancel(` + fmt.Sprintf("%q", ids[11]) + `)).status; })()`))
				p.until(`window.canceled === 'canceled'`)
				for _, id := range ids[:11] {
					w.start(id)
					w.complete(id)
				}
				p.until(`Object.entries(seen).every(([id, each]) => each.end && whole(id, each.end === 'canceled' ? 2 : 3))`)
				p.eventually("nothing is held any more", func() bool { return proxy.streams.Load()+proxy.sockets.Load() == 0 })
			})
		}
	}
}

// TestManyTabs: all tabs of an origin share their connections, also where they follow the same
// request, and a tab that is gone holds none.
func TestManyTabs(t *testing.T) {
	b := newBrowser(t)
	base := startGateway(t, "--drain", "100ms", "--samples=false", "--heartbeat", "1s", "--retry", "100ms")
	w := work{caller{t, base, "none"}}
	proxy := newWire(t, base)
	ids := w.submit(8)
	var pages []*page
	shared := w.submit(1)[0]
	w.start(shared) // so that there is something to miss
	for _, id := range ids {
		p := b.blank(t, proxy.url)
		p.follow(id, shared)
		pages = append(pages, p)
	}
	for i, p := range pages {
		p.until(fmt.Sprintf(`open(%q) && open(%q) && whole(%q, 2)`, ids[i], shared, shared))
	}
	if streams, sockets := proxy.streams.Load(), proxy.sockets.Load(); streams != 1 || sockets != 1 {
		t.Errorf("%d streams and %d WebSockets are open", streams, sockets)
	}
	subscribers := func() int { return int(proxy.streams.Load()) }
	// The tab whose follower has the stream goes without a word.
	if err := chromedp.Cancel(pages[0].ctx); err != nil {
		t.Fatal(err)
	}
	pages[1].eventually("the stream of a tab that is gone ends", func() bool { return subscribers() == 0 })
	for i, p := range pages[1:] {
		w.start(ids[i+1])
		w.complete(ids[i+1])
		p.until(fmt.Sprintf(`seen[%q].end === 'succeeded' && whole(%q, 3)`, ids[i+1], ids[i+1]))
	}
	if sockets := proxy.sockets.Load(); sockets != 1 {
		t.Errorf("%d WebSockets are open", sockets)
	}
	w.complete(shared)
	for _, p := range pages[1:] {
		p.until(fmt.Sprintf(`seen[%q].end === 'succeeded' && whole(%q, 3)`, shared, shared))
	}
	pages[1].eventually("nothing is held any more", func() bool { return proxy.streams.Load()+proxy.sockets.Load() == 0 })
}

// TestSilentProxy: what passes nothing on any more, without a word, is noticed on every transport.
func TestSilentProxy(t *testing.T) {
	b := newBrowser(t)
	base := startGateway(t, "--drain", "100ms", "--samples=false", "--heartbeat", "1s", "--retry", "100ms")
	for _, transport := range []string{"sse", "websocket"} {
		t.Run(transport, func(t *testing.T) {
			w := work{caller{t, base, "none"}}
			proxy := newWire(t, base)
			p := b.blank(t, proxy.url)
			id := w.submit(1)[0]
			p.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`void follow(%q, { transport: %q })`, id, transport)))
			p.until(fmt.Sprintf(`open(%q) && whole(%q, 1)`, id, id))
			end := proxy.silence()
			t.Cleanup(end)
			w.start(id)
			p.until(fmt.Sprintf(`seen[%q].states.at(-1) !== '%s open'`, id, transport))
			proxy.over()
			w.progress(id, 50)
			p.until(fmt.Sprintf(`whole(%q, 3)`, id))
			w.complete(id)
			p.until(fmt.Sprintf(`seen[%q].end === 'succeeded' && whole(%q, 4)`, id, id))
		})
	}
}

// TestHeldBack: where the body of a stream is held back, another transport is taken.
func TestHeldBack(t *testing.T) {
	b := newBrowser(t)
	base := startGateway(t, "--drain", "100ms", "--samples=false", "--retry", "100ms")
	w := work{caller{t, base, "none"}}
	proxy := newWire(t, base)
	proxy.holds.Store(true)
	p := b.blank(t, proxy.url)
	id := w.submit(1)[0]
	p.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`void follow(%q, { openTimeout: 500 })`, id)))
	p.until(fmt.Sprintf(`whole(%q, 1)`, id))
	if states := eval[string](p, fmt.Sprintf(`seen[%q].states.join()`, id)); states != "sse connecting,websocket connecting,websocket open" {
		t.Errorf("it was %s", states)
	}
}

// TestWalk: pages that are left hold no connection, so that any number can be walked through, and
// back: each goes on where it was.
func TestWalk(t *testing.T) {
	b := newBrowser(t)
	base := startGateway(t, "--drain", "100ms", "--samples=false", "--heartbeat", "1s", "--retry", "100ms")
	for _, worker := range []string{"undefined", "false"} {
		t.Run("worker "+worker, func(t *testing.T) {
			w := work{caller{t, base, "none"}}
			proxy := newWire(t, base)
			ids := w.submit(8)
			// Not that of the others: Chromium keeps no page that must not be stored and has asked
			// for something that must not, such as a stream.
			p := b.open(t, proxy.url+"/icon.svg")
			p.networkErrors.Store(true)
			for n, id := range ids {
				if n > 0 {
					p.do(chromedp.Navigate(fmt.Sprintf("%s/icon.svg?%d", proxy.url, n)))
				}
				p.equip(worker)
				p.follow(id)
				p.until(fmt.Sprintf(`open(%q) && whole(%q, 1)`, id, id))
				p.eventually("one connection is held", func() bool { return proxy.streams.Load()+proxy.sockets.Load() == 1 })
			}
			back := 0
			for n := len(ids) - 2; n >= 0; n-- {
				id := ids[n]
				w.start(id)
				p.do(chromedp.Evaluate[chromedp.Void](`void setTimeout(() => history.back())`))
				at := fmt.Sprintf(`?%d`, n)
				if n == 0 {
					at = ""
				}
				p.arrives(`location.search === '` + at + `' && document.readyState === 'complete'`)
				if eval[bool](p, `window.seen !== undefined`) {
					back++
				} else {
					p.equip(worker)
					p.follow(id)
				}
				w.complete(id)
				p.arrives(fmt.Sprintf(`seen[%q].end === 'succeeded' && whole(%q, 3)`, id, id))
			}
			t.Logf("%d of %d pages came out of the cache", back, len(ids)-1)
			if back == 0 {
				t.Error("no page came out of the cache: following keeps them out of it")
			}
		})
	}
}

// TestFrozenAndOffline: a page that is frozen lets go and comes back, and one whose network was
// away connects at once.
func TestFrozenAndOffline(t *testing.T) {
	b := newBrowser(t)
	base := startGateway(t, "--drain", "100ms", "--samples=false", "--heartbeat", "1s", "--retry", "100ms")
	for _, worker := range []string{"undefined", "false"} {
		t.Run("worker "+worker, func(t *testing.T) {
			w := work{caller{t, base, "none"}}
			proxy := newWire(t, base)
			p := b.open(t, proxy.url+"/health/live")
			p.networkErrors.Store(true)
			p.equip(worker)
			ids := w.submit(2)
			p.follow(ids...)
			p.until(fmt.Sprintf(`open(%q) && open(%q)`, ids[0], ids[1]))
			lifecycle := func(state string) {
				p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
					_, err := cdp.Call(ctx, t, cdppage.SetWebLifecycleState, cdppage.SetWebLifecycleStateParams{State: cdppage.SetWebLifecycleStateState(state)})
					return err
				}))
			}
			lifecycle("frozen")
			p.eventually("a frozen page holds nothing", func() bool { return proxy.streams.Load()+proxy.sockets.Load() == 0 })
			w.start(ids[0])
			w.start(ids[1])
			lifecycle("active")
			p.until(fmt.Sprintf(`whole(%q, 2) && whole(%q, 2)`, ids[0], ids[1]))

			made := len(proxy.lines())
			offline := func(off bool) {
				p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
					_, err := cdp.Call(ctx, t, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: off, DownloadThroughput: -1, UploadThroughput: -1})
					return err
				}))
			}
			p.until(fmt.Sprintf(`open(%q) && open(%q)`, ids[0], ids[1]))
			offline(true)
			p.until(`!navigator.onLine`)
			offline(false)
			p.until(`navigator.onLine`)
			p.eventually("both connections are made again", func() bool { return len(proxy.lines()) >= made+2 })
			w.complete(ids[0])
			w.complete(ids[1])
			p.until(fmt.Sprintf(`seen[%q].end && seen[%q].end && whole(%q, 3) && whole(%q, 3)`, ids[0], ids[1], ids[0], ids[1]))
		})
	}
}

// TestEndBehindARefusal: what was missed while a stream was away and then refused comes before the
// end.
func TestEndBehindARefusal(t *testing.T) {
	b := newBrowser(t)
	base := startGateway(t, "--drain", "100ms", "--samples=false", "--retry", "100ms")
	w := work{caller{t, base, "none"}}
	proxy := newWire(t, base)
	p := b.blank(t, proxy.url)
	id := w.submit(1)[0]
	p.follow(id)
	p.until(fmt.Sprintf(`open(%q) && whole(%q, 1)`, id, id))
	proxy.sheds.Store(1000)
	proxy.cut()
	w.start(id)
	for n := range 9 {
		w.progress(id, 10*n)
	}
	w.complete(id)
	p.until(fmt.Sprintf(`seen[%q].end === 'succeeded' && whole(%q, 12)`, id, id))
	if proxy.sheds.Load() == 1000 {
		t.Error("no stream was refused")
	}
}

// TestDocumentedEventSource runs what docs/follow.md shows for a page without the library, where a
// stream is cut, refused and falls silent.
func TestDocumentedEventSource(t *testing.T) {
	script := docs.Find(t, "docs/follow.md", "Without a library", "js", "let last = ")
	b := newBrowser(t)
	base := startGateway(t, "--drain", "100ms", "--samples=false", "--heartbeat", "1s", "--retry", "100ms")
	w := work{caller{t, base, "none"}}
	proxy := newWire(t, base)
	p := b.open(t, proxy.url+"/health/live")
	p.networkErrors.Store(true)
	id := w.submit(1)[0]
	p.do(chromedp.Evaluate[chromedp.Void](`window.shown = []; window.show = (data) => shown.push(data.sequence);` +
		strings.ReplaceAll(script, "demo-1", id)))
	p.until(`shown.join() === '1'`)
	proxy.sheds.Store(1)
	proxy.cut()
	w.start(id)
	p.until(`shown.join() === '1,2'`)
	t.Cleanup(proxy.silence())
	w.progress(id, 50)
	p.eventually("the stream has fallen silent", func() bool { return proxy.swallowed.Load() > 0 })
	proxy.over()
	p.until(`shown.join() === '1,2,3'`)
	w.complete(id)
	p.until(`shown.join() === '1,2,3,4' && over`)
	p.eventually("it is closed at the end", func() bool { return proxy.streams.Load() == 0 })
}

// TestWorkerPolicy: the worker's script has a policy of its own, that of the gateway which it came
// from. If that forbids what the page may do, the page connects itself, here to a gateway of
// another origin, for which the worker is used only where the application says so.
func TestWorkerPolicy(t *testing.T) {
	b := newBrowser(t)
	home := startGateway(t, "--drain", "100ms", "--samples=false")
	away := startGateway(t, "--drain", "100ms", "--samples=false", "--origins", home)
	w := work{caller{t, away, "none"}}
	for _, transport := range []string{"sse", "websocket", "poll"} {
		p := b.blank(t, home)
		id := w.submit(1)[0]
		p.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`client = hark.createClient({ base: %q, worker: '/hark.js' }); follow(%q, { transport: %q })`, away, id, transport)))
		p.until(fmt.Sprintf(`open(%q) && whole(%q, 1)`, id, id))
		w.start(id)
		w.complete(id)
		p.until(fmt.Sprintf(`seen[%q].end === 'succeeded' && whole(%q, 3)`, id, id))
		if states := eval[string](p, fmt.Sprintf(`seen[%q].states.join()`, id)); strings.Count(states, " connecting") != 2 || !strings.HasPrefix(states, transport) {
			t.Errorf("it was %s: the worker was not tried", states)
		}
	}
}

// TestWorkerDies: pages whose worker is gone connect themselves.
func TestWorkerDies(t *testing.T) {
	b := newBrowser(t)
	base := startGateway(t, "--drain", "100ms", "--samples=false", "--retry", "100ms")
	w := work{caller{t, base, "none"}}
	p := b.blank(t, base)
	id := w.submit(1)[0]
	p.follow(id)
	p.until(fmt.Sprintf(`open(%q) && whole(%q, 1)`, id, id))
	targets, err := chromedp.Targets(p.ctx)
	if err != nil {
		t.Fatal(err)
	}
	killed := false
	for _, each := range targets {
		if each.Type == "shared_worker" && strings.HasPrefix(each.URL, base) {
			killed = true
			ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(each.TargetID))
			t.Cleanup(cancel)
			if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](`void setTimeout(close)`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !killed {
		t.Fatalf("there is no worker among %d targets", len(targets))
	}
	w.start(id)
	w.complete(id)
	p.until(fmt.Sprintf(`seen[%q].end === 'succeeded' && whole(%q, 3)`, id, id))
}
