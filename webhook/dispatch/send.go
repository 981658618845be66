package dispatch

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hark-push/hark/egress"
	"github.com/hark-push/hark/webhook"
)

// sender makes the HTTP calls. Nothing of what comes back is trusted.
type sender struct {
	options Options
	guard   *egress.Guard
	client  *http.Client
}

// The bounds on what an endpoint may send back.
const (
	keptResponse  = 4 << 10 // bytes of a response that are logged
	readResponse  = 64 << 10
	readTime      = time.Second // for the body of an answer that has its status already
	maxHeaderSize = 64 << 10
)

func newSender(o Options) *sender {
	s := &sender{options: o, guard: egress.New(o.AllowCIDRs)}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: s.guard.Control}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs}
	if o.Certificate != nil {
		config.Certificates = []tls.Certificate{*o.Certificate}
	}
	var transport http.RoundTripper = &http.Transport{
		Proxy:                  nil, // it would be checked in place of the endpoint
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true, // which a dialer of one's own turns off
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConns:           4096,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeaderSize,
		DisableCompression:     true, // a short answer that unpacks to a long one
	}
	if o.Transport != nil {
		transport = o.Transport(transport)
	}
	s.client = &http.Client{
		// A redirect is an answer like another one, and no success.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     transport,
	}
	return s
}

func (s *sender) close() { s.client.CloseIdleConnections() }

// answer is how an endpoint answered.
type answer struct {
	status     int
	header     http.Header
	body       []byte // its beginning
	latency    time.Duration
	class      string // of the error, if there was no answer
	err        error  // in full, for the operator's eyes only
	retryAfter time.Duration
}

// post sends a message, signed.
func (s *sender) post(ctx context.Context, e *Endpoint, m Message, at time.Time, keys []webhook.Key) answer {
	ctx, cancel := s.options.Stall.WithTimeout(ctx, e.Timeout)
	defer cancel()
	body, trace := m.Body, ""
	if m.Event != nil {
		trace = m.Event.Trace
	}
	switch {
	case e.Form == FormThin:
		body = s.options.Thin(m)
	case m.Event != nil:
		body = s.options.Text(m.Event)
	}
	signature, err := webhook.Sign(m.ID, at, body, keys...)
	if err != nil {
		return answer{class: ClassInternal, err: err}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return answer{class: ClassInternal, err: quiet(err, e.URL)}
	}
	for name, value := range e.Headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("Content-Type", e.mediaType())
	r.Header.Set("User-Agent", "Hark-Webhooks/1.0")
	if trace != "" {
		r.Header.Set("Traceparent", trace)
	}
	r.Header.Set(webhook.HeaderID, m.ID)
	r.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	r.Header.Set(webhook.HeaderSignature, signature)
	if Challenge(e.Challenge) == ChallengeHandshake {
		r.Header.Set(headerOrigin, s.options.Origin)
	}
	repeatable(r.Header)
	return s.do(ctx, r)
}

// repeatable tells net/http that the call may be made again on another connection, if a kept one
// broke before a byte of an answer came: the receiver was just closing it, which is no failure of
// his. A field without values is not sent, see [http.Transport]. Deliveries are at least once, and
// bear the same webhook-id.
func repeatable(h http.Header) {
	const key = "Idempotency-Key"
	if _, ok := h[key]; !ok { // the endpoint may have one of its own
		h[key] = nil
	}
}

// do makes a call and reads as much of the answer as is kept.
func (s *sender) do(ctx context.Context, r *http.Request) answer {
	began := time.Now()
	res, err := s.client.Do(r)
	if err != nil {
		return answer{class: classOf(ctx, err), err: quiet(err, r.URL.String()), latency: time.Since(began)}
	}
	a := answer{status: res.StatusCode, header: res.Header, latency: time.Since(began)}
	// The status decides; who sends the body byte by byte does not keep us.
	late := time.AfterFunc(readTime, func() { _ = res.Body.Close() })
	a.body, _ = io.ReadAll(io.LimitReader(res.Body, keptResponse)) // as far as it came
	// The connection can be used again when it is read.
	_, _ = io.CopyN(io.Discard, res.Body, readResponse)
	late.Stop()
	_ = res.Body.Close()
	a.retryAfter = retryAfter(res.Header.Get("Retry-After"), time.Now())
	return a
}

// The classes of errors, as owners see them. They do not tell a port that is closed from
// an address that must not be reached.
const (
	ClassStatus      = "status"      // answered with a status that is no success
	ClassRedirect    = "redirect"    // answered with 3xx, which is not followed
	ClassGone        = "gone"        // answered with 410
	ClassTimeout     = "timeout"     // no answer in time
	ClassUnreachable = "unreachable" // no connection, or it broke
	ClassTLS         = "tls"         // no secure connection
	ClassProtocol    = "protocol"    // what came is not HTTP
	ClassInternal    = "internal"    // it is our fault
)

func classOf(ctx context.Context, err error) string {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var network *net.OpError
	switch {
	case egress.Blocked(err):
		return ClassUnreachable
	case errors.As(err, &certificate), errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return ClassTLS
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded), isTimeout(err):
		return ClassTimeout
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), isDNS(err), ctx.Err() != nil:
		return ClassUnreachable
	default:
		return ClassProtocol
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func isDNS(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// maxRetryAfter is how long an endpoint can ask us to wait.
const maxRetryAfter = time.Hour

// retryAfter reads the header of that name (RFC 9110, section 10.2.3): digits, which are seconds,
// or a date in one of the three forms of section 5.6.7. It returns at most maxRetryAfter, however
// large the number; 0 for what is over, or says nothing.
func retryAfter(value string, now time.Time) time.Duration {
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseUint(value, 10, 64)
		if err != nil || seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if _, err := time.Parse(time.RFC850, value); err == nil {
		at = inCentury(at, now)
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// inCentury returns a time whose year had two digits in the century that is meant: not more than 50
// years from now, else the last one that ended so (RFC 9110, section 5.6.7).
func inCentury(at, now time.Time) time.Time {
	at = at.AddDate((now.Year()-at.Year())/100*100, 0, 0)
	if at.Before(now.AddDate(-50, 0, 0)) {
		at = at.AddDate(100, 0, 0)
	}
	if at.After(now.AddDate(50, 0, 0)) {
		at = at.AddDate(-100, 0, 0)
	}
	return at
}

func (a *answer) String() string { return fmt.Sprintf("%d %s %v", a.status, a.class, a.err) }
