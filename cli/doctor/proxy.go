package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hark-push/hark/cli"
)

// mostSkewHTTP is how far the time of an answer, which has whole seconds, may be from here.
const mostSkewHTTP = 5 * time.Second

// largeBody is more than a gateway takes where it is told what to do, whatever --max-body is.
const largeBody = 1<<20 + 1

// side is one way to a gateway: to itself, or through what is in front.
type side struct {
	base string
	key  string
	http *http.Client
}

func (d *doctor) side(base string) (*side, error) {
	key, err := cli.Remote{URL: base, Key: d.flags.Key}.Secret()
	if err != nil {
		return nil, err
	}
	return &side{strings.TrimSuffix(base, "/"), key, &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (s *side) do(ctx context.Context, method, path string, body io.Reader, header ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.base+path, body)
	if err != nil {
		return nil, err
	}
	if s.key != "" {
		r.Header.Set("Authorization", "Bearer "+s.key)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res, err := s.http.Do(r)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return res, err
}

// read makes a call and reads the beginning of its answer.
func (s *side) read(ctx context.Context, method, path string, body io.Reader, header ...string) (head, []byte, error) {
	res, err := s.do(ctx, method, path, body, header...)
	if err != nil {
		return head{}, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return head{res.StatusCode, res.Header}, text, err
}

// head is that of an answer.
type head struct {
	StatusCode int
	Header     http.Header
}

// status is that of the answer in words.
func (h head) status() string {
	return fmt.Sprintf("%d %s", h.StatusCode, http.StatusText(h.StatusCode))
}

// own is where a gateway with this configuration can be reached from this machine.
func (d *doctor) own() string {
	scheme := "http"
	if d.config.TLSCert != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(d.config.Listen)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// gateway looks at one that runs, and at what is in front of it. An error is one of the arguments.
func (d *doctor) gateway(ctx context.Context) error {
	at, named := d.flags.At, d.flags.At != ""
	if !named {
		at = d.own()
	}
	direct, err := d.side(at)
	if err != nil {
		return err
	}
	runs := d.ready(ctx, direct, named)
	if d.flags.Through == "" {
		return nil
	}
	through, err := d.side(d.flags.Through)
	if err != nil {
		return err
	}
	if !runs {
		direct = nil
	}
	d.proxy(ctx, through, direct)
	return nil
}

// ready asks a gateway how it is.
func (d *doctor) ready(ctx context.Context, s *side, named bool) (runs bool) {
	const about = "gateway"
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	asked := time.Now()
	res, text, err := s.read(ctx, http.MethodGet, "/health/ready", nil)
	if err != nil {
		if named {
			d.find(about, "no gateway answers at "+s.base, err.Error(), "start it, or correct --url (HARK_URL)")
		} else {
			d.note("a gateway that runs: none answers at %s (%v); --url names another one", s.base, err)
		}
		return false
	}
	var says struct {
		Status   string   `json:"status"`
		Detail   string   `json:"detail"`
		Type     string   `json:"type"`
		Unserved []string `json:"routesWithoutProcessor"`
		Keys     string   `json:"keys"`
	}
	kind := res.Header.Get("Content-Type")
	if json.Unmarshal(text, &says) != nil && !strings.Contains(kind, "problem+json") || res.StatusCode != http.StatusOK && res.StatusCode != http.StatusServiceUnavailable {
		if named {
			d.find(about, fmt.Sprintf("%s is no gateway", s.base), fmt.Sprintf("/health/ready answers with %s, %s", res.status(), kind), "correct --url (HARK_URL)")
		} else {
			d.note("a gateway that runs: something else answers at %s", s.base)
		}
		return false
	}
	if at, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		took := time.Since(asked)
		if apart := at.Sub(asked); apart.Abs() > mostSkewHTTP+took {
			d.find(about, fmt.Sprintf("the clocks of the gateway at %s and of this machine are %v apart", s.base, apart.Abs().Round(time.Second)), "one of them is not set by a time server", "have both set by NTP (timedatectl set-ntp true)")
		}
	}
	if res.StatusCode != http.StatusOK {
		d.find(about, "the gateway at "+s.base+" is not ready", says.Detail, "mend what it names; it goes on by itself then")
		return true
	}
	if says.Keys != "" {
		d.find(about, "the gateway at "+s.base+" cannot take its file of keys", says.Keys, "correct the file of --keys")
	}
	if len(says.Unserved) > 0 {
		d.find(about, "nobody works on the route"+plural(says.Unserved)+" "+strings.Join(says.Unserved, ", ")+": what is submitted there waits",
			"no processor of such a route has asked for work lately", "start one (docs/processors.md; the samples with hark worker), or take the route out of --routes")
	}
	d.routes(ctx, s, says.Unserved)
	return true
}

// longWait is for how long a request waits before that is worth a word where no processor is.
const longWait = 10 * time.Second

// routes looks at what waits although no processor is there now. That a route has none is told by
// the gateway itself only when there has been none for a while; known are those.
func (d *doctor) routes(ctx context.Context, s *side, known []string) {
	res, text, err := s.read(ctx, http.MethodGet, "/v1/routes", nil)
	if err != nil || res.StatusCode != http.StatusOK {
		d.note("what waits at %s: /v1/routes is for the role admin (--key, HARK_KEY)", s.base)
		return
	}
	var says struct {
		Routes []struct {
			Route           string
			Pending, Parked int64
			OldestPending   time.Time
			Processors      int64
		}
	}
	if err := json.Unmarshal(text, &says); err != nil {
		d.note("what waits at %s: %v", s.base, err)
		return
	}
	now := time.Now()
	if at, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		now = at // the gateway's, which is nearer to the store's
	}
	for _, r := range says.Routes {
		waits := r.Pending - r.Parked
		if since := now.Sub(r.OldestPending); r.Processors > 0 || waits <= 0 || since < longWait || slices.Contains(known, r.Route) {
			continue
		}
		d.find("gateway", fmt.Sprintf("%d requests on %s wait, and no processor is there", waits, r.Route),
			"the first of them came "+r.OldestPending.Format(time.RFC3339)+", and whoever has worked on the route is gone, or asks for work seldom",
			"see in its log why it has ended, and start it again (docs/processors.md; the samples with hark worker)")
	}
}

func plural(list []string) string {
	if len(list) == 1 {
		return ""
	}
	return "s"
}

// proxy looks at what is in front of gateways. direct, if it is there, says how they do without.
func (d *doctor) proxy(ctx context.Context, through, direct *side) {
	const about = "proxy"
	first, cancel := context.WithTimeout(ctx, d.flags.Wait)
	defer cancel()
	res, text, err := through.read(first, http.MethodGet, "/health/live", nil)
	switch {
	case err != nil:
		d.find(about, "nothing answers at "+through.base, err.Error(), "start the proxy, or correct --through")
		return
	case res.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"status"`)):
		d.find(about, through.base+" does not lead to a gateway", fmt.Sprintf("/health/live answers with %s, %s", res.status(), res.Header.Get("Content-Type")),
			"have the proxy pass every path to the gateways as it is")
		return
	}
	// Each finds on its own, so that the order of what is told does not depend on who is first.
	looks := []func(context.Context, *doctor, *side, *side){stream, socket, large, address}
	each := make([]doctor, len(looks))
	var looking sync.WaitGroup
	for i, look := range looks {
		each[i] = doctor{flags: d.flags, config: d.config}
		looking.Go(func() { look(ctx, &each[i], through, direct) })
	}
	looking.Wait()
	for i := range each {
		d.found, d.notes = append(d.found, each[i].found...), append(d.notes, each[i].notes...)
	}
}

// streaming is what was seen of a stream.
type streaming struct {
	status int
	first  time.Duration // until its first bytes; 0: none came
	ended  time.Duration // until it ended; 0: it did not
	err    error         // how it ended
	said   string
}

// watch opens a stream and watches it for a while: until begin for its first bytes, then until
// long.
func watch(ctx context.Context, s *side, begin, long time.Duration) (seen streaming) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	start := time.Now()
	impatient := time.AfterFunc(begin, cancel)
	defer impatient.Stop()
	res, err := s.do(ctx, http.MethodGet, "/v1/events", nil, "Accept: text/event-stream")
	if err != nil {
		if ctx.Err() == nil {
			seen.ended, seen.err = time.Since(start), err
		}
		return seen
	}
	defer func() { _ = res.Body.Close() }()
	seen.status = res.StatusCode
	if res.StatusCode != http.StatusOK {
		return seen
	}
	part := make([]byte, 4096)
	for {
		n, err := res.Body.Read(part)
		if n > 0 {
			if seen.first == 0 {
				impatient.Stop()
				seen.first = time.Since(start)
			}
			if len(seen.said) < 64<<10 {
				seen.said += string(part[:n])
			}
		}
		if err != nil {
			if ctx.Err() == nil {
				seen.ended, seen.err = time.Since(start), err
			}
			return seen
		}
	}
}

// beginTime is within how long the first bytes of a stream come, which a gateway sends at once.
const beginTime = 5 * time.Second

// stream looks whether an event stream comes through as it is sent, and for as long.
func stream(ctx context.Context, d *doctor, through, direct *side) {
	const about = "proxy"
	begin := min(beginTime, d.flags.Wait)
	seen := watch(ctx, through, begin, d.flags.Wait)
	switch {
	case ctx.Err() != nil:
		return
	case seen.status == http.StatusUnauthorized || seen.status == http.StatusForbidden:
		d.note("streams through the proxy: a key of the role client is needed (--key)")
		return
	case seen.status != 0 && seen.status != http.StatusOK:
		d.find(about, "event streams do not come through the proxy", fmt.Sprintf("/v1/events answers with %d", seen.status), "have the proxy pass every path to the gateways, and look at its log")
		return
	}
	if seen.first == 0 && seen.ended == 0 {
		if direct != nil && watch(ctx, direct, begin, begin).first == 0 {
			d.find("gateway", "the gateway does not begin streams", fmt.Sprintf("nothing came of /v1/events within %v, without the proxy neither", begin), "look at its log, and at its load")
			return
		}
		d.find(about, fmt.Sprintf("the proxy holds event streams back: nothing of one came within %v", begin), "it collects an answer before it passes it on (response buffering, compression, a scanner)",
			"switch that off for text/event-stream: proxy_buffering off (nginx), flushpackets=on (Apache), flush_interval -1 (Caddy); deploy/ has whole configurations")
		return
	}
	// The gateway's own words.
	for _, name := range []string{"busy", "restart", "unavailable", "unauthenticated"} {
		if strings.Contains(seen.said, "event: "+name+"\n") {
			d.note("for how long streams last: the gateway has closed one (%s)", name)
			return
		}
	}
	if seen.ended > 0 {
		d.find(about, fmt.Sprintf("the proxy cuts event streams after %v", seen.ended.Round(100*time.Millisecond)), fmt.Sprintf("it has a limit for answers, or for silence, which is shorter than the heartbeat of the gateway (%v): %v", d.config.Heartbeat, seen.err),
			"raise that limit well above the heartbeat: proxy_read_timeout 1h (nginx), timeout server and timeout tunnel (HAProxy), ProxyTimeout (Apache); or lower --heartbeat")
	}
}

// socket looks whether a WebSocket comes through, and what is sent over it.
func socket(ctx context.Context, d *doctor, through, direct *side) {
	const about = "proxy"
	ctx, cancel := context.WithTimeout(ctx, d.flags.Wait)
	defer cancel()
	status, err := upgrade(ctx, through)
	if err == nil || ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		d.note("WebSockets through the proxy: a key of the role client is needed (--key)")
		return
	}
	if direct != nil {
		if _, err := upgrade(ctx, direct); err != nil {
			d.note("WebSockets through the proxy: none comes about without it either (%v)", err)
			return
		}
	}
	d.find(about, "WebSockets do not come through the proxy", err.Error(),
		"have it pass the upgrade on: proxy_http_version 1.1 with the fields Upgrade and Connection (nginx), mod_proxy_wstunnel or upgrade=websocket (Apache). Clients use event streams meanwhile")
}

// upgrade opens a WebSocket (RFC 6455), sends a ping, and waits for anything to come back.
func upgrade(ctx context.Context, s *side) (status int, err error) {
	nonce := "dGhlIHNhbXBsZSBub25jZQ=="
	res, err := s.do(ctx, http.MethodGet, "/v1/ws", nil, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+nonce, "Sec-WebSocket-Protocol: hark.v1")
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	conn, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok {
		return res.StatusCode, fmt.Errorf("the handshake of /v1/ws is answered with %s, and not with 101", res.Status)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	ping := []byte{0x89, 0x80, 1, 2, 3, 4} // masked, without content
	if _, err := conn.Write(ping); err != nil {
		return res.StatusCode, fmt.Errorf("the handshake is answered with 101, and then nothing can be sent: %w", err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
		return res.StatusCode, fmt.Errorf("the handshake is answered with 101, and then nothing comes: %w", err)
	}
	return res.StatusCode, nil
}

// large looks whether who sends too much is told so.
func large(ctx context.Context, d *doctor, through, direct *side) {
	const about = "proxy"
	ctx, cancel := context.WithTimeout(ctx, d.flags.Wait)
	defer cancel()
	send := func(s *side) (int, string, error) {
		// Blanks are no endpoint, so whatever reads them makes none.
		res, _, err := s.read(ctx, http.MethodPost, "/v1/webhooks", bytes.NewReader(bytes.Repeat([]byte{' '}, largeBody)), "Content-Type: application/json")
		if err != nil && res.StatusCode == 0 {
			return 0, "", err
		}
		return res.StatusCode, res.Header.Get("Content-Type"), nil
	}
	status, kind, err := send(through)
	// Whoever is still writing when an answer comes and the connection is closed may read the one
	// or notice the other first, so what is cut is tried again.
	for again := 0; again < 4 && err != nil && ctx.Err() == nil; again++ {
		status, kind, err = send(through)
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		d.note("what becomes of bodies that are too large: a key of the role client is needed (--key)")
		return
	case status == http.StatusRequestEntityTooLarge && strings.HasPrefix(kind, "application/problem+json"):
		return
	case status == http.StatusRequestEntityTooLarge:
		d.find(about, fmt.Sprintf("the proxy itself refuses bodies of %d bytes", largeBody), "it has a limit of its own, below that of the gateway (--max-body), and its answer is none that clients know",
			"raise it to --max-body: client_max_body_size (nginx), LimitRequestBody (Apache); and have it answer with a problem, see deploy/")
		return
	case ctx.Err() != nil:
		d.note("what becomes of bodies that are too large: no answer came within %v", d.flags.Wait)
		return
	}
	if direct != nil {
		if without, _, err := send(direct); err != nil || without != http.StatusRequestEntityTooLarge {
			d.note("what becomes of bodies that are too large: the gateway answers with %d without the proxy", without)
			return
		}
	}
	became := fmt.Sprint(status)
	if err != nil {
		became = "a connection that is cut (" + err.Error() + ")"
	}
	d.find(about, "who sends too much is not told so: 413 becomes "+became, "the proxy goes on sending to a gateway that has answered and closed, and takes that for a failure",
		"let it refuse such bodies itself: client_max_body_size (nginx), LimitRequestBody (Apache), http-request deny by req.body_size (HAProxy), see deploy/")
}

// address looks which address clients are told to come back to, by a request that is canceled and
// deleted at once.
func address(ctx context.Context, d *doctor, through, _ *side) {
	const about = "proxy"
	if !d.flags.Submit || len(d.config.Routes) == 0 {
		d.note("whether the proxy says how clients reach it: that takes a request (--submit)")
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.flags.Wait)
	defer cancel()
	id := "hark-doctor-" + strings.ToLower(rand.Text()[:12])
	route := d.config.Routes[0]
	// It is not begun before it is canceled.
	res, text, err := through.read(ctx, http.MethodPost, "/v1/requests?"+url.Values{"route": {route}, "id": {id}, "delay": {"5m"}}.Encode(), strings.NewReader("doctor"),
		"Content-Type: text/plain", "Prefer: respond-async")
	if err == nil && res.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("%s: %.300s", res.status(), text)
	}
	if err != nil {
		d.note("whether the proxy says how clients reach it: the request was not taken (%v)", err)
		return
	}
	for _, undo := range []struct{ method, path string }{{http.MethodPost, "/cancel"}, {http.MethodDelete, ""}} {
		if res, text, err := through.read(ctx, undo.method, "/v1/requests/"+id+undo.path, nil); err != nil || res.StatusCode >= 300 {
			d.find(about, "the request "+id+", by which this was tried, is still there", strings.TrimSpace(fmt.Sprintf("%v %s", err, text)), "hark requests cancel "+id+", then hark requests delete "+id)
			break
		}
	}
	got := res.Header.Get("Location")
	if strings.HasPrefix(got, "/") {
		if len(d.config.TrustedProxies) > 0 {
			d.find(about, "the gateway does not know how clients reach it: its links are not absolute", "the proxy sets neither X-Forwarded-Proto and X-Forwarded-Host nor Forwarded, or is none of --trusted-proxies",
				"have it set them (proxy_set_header X-Forwarded-Proto $scheme in nginx), and name its network with --trusted-proxies; or give --public-url")
		} else {
			d.note("whether the proxy says how clients reach it: the gateway believes none (--trusted-proxies)")
		}
		return
	}
	want, err := url.Parse(through.base)
	if err != nil {
		return
	}
	if u, err := url.Parse(got); err != nil || u.Scheme != want.Scheme || !strings.EqualFold(u.Host, want.Host) {
		d.find(about, fmt.Sprintf("clients that come by %s are told to come back to %.200s", through.base, got), "the proxy sets X-Forwarded-Proto and X-Forwarded-Host, or Forwarded, to something else, or --public-url is another one",
			"have it set them to what the client has called, or correct --public-url")
	}
}
