package samples

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/hark-push/hark/egress"
	"github.com/hark-push/hark/processor"
)

// FetchOptions of [NewFetch]. The zero value works.
type FetchOptions struct {
	// AllowPrivate lets private networks and this machine be reached. Link-local
	// addresses, where clouds keep their metadata, stay out of reach.
	AllowPrivate bool
	// Allow are networks that may be reached, on any port, although they are not
	// public.
	Allow []netip.Prefix
	// MaxBytes is the size up to which a page is read, after decompression.
	// Default 4 MiB.
	MaxBytes int64
	// Timeout of one fetch, redirects and reading included. Default 30 seconds.
	Timeout time.Duration
	// UserAgent sent. Default "Hark-Fetch/1.0".
	UserAgent string
}

const maxRedirects = 5

// Fetch reads web pages; see [NewFetch].
type Fetch struct {
	client    *http.Client
	maxBytes  int64
	timeout   time.Duration
	userAgent string
}

// NewFetch returns a handler that reads a web page and says what is in it. The
// content is JSON {"url": "https://…"}, or the URL as text/plain; for a call, the
// query url=… does as well. The result is a [Page] as JSON.
//
// The URL comes from a stranger, so only public addresses on the ports 80 and 443
// are connected to, checked after the name was resolved and again at every
// redirect, of which there may be five.
//
// Codes of failures: "bad-url", "bad-content", "bad-options" (a field or an option that there is
// not), "blocked-address" (not public), "unreachable" (tried again; why is not told), "bad-status"
// (tried again from 500 and for 429), "not-a-page" (neither HTML nor text), "too-large".
func NewFetch(o FetchOptions) *Fetch {
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: newGuard(o).Control}
	return &Fetch{
		maxBytes:  cmp.Or(max(o.MaxBytes, 0), 4<<20),
		timeout:   cmp.Or(max(o.Timeout, 0), 30*time.Second),
		userAgent: cmp.Or(o.UserAgent, "Hark-Fetch/1.0"),
		client: &http.Client{
			CheckRedirect: func(r *http.Request, via []*http.Request) error {
				if len(via) > maxRedirects {
					return errRedirects
				}
				return checkURL(r.URL)
			},
			Transport: &http.Transport{
				Proxy:                  nil, // a proxy would be checked in place of the target
				DialContext:            dialer.DialContext,
				ForceAttemptHTTP2:      true,
				DisableKeepAlives:      true, // one page a connection: nothing stays behind
				TLSHandshakeTimeout:    10 * time.Second,
				ResponseHeaderTimeout:  15 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
			},
		},
	}
}

var errRedirects = errors.New("too many redirects")

// Process fetches one page.
func (h *Fetch) Process(ctx context.Context, job *processor.Job) (processor.Result, error) {
	target, err := parseTarget(job)
	if err != nil {
		return processor.Result{}, err
	}
	if err := job.Progress(ctx, "connecting", 0, "Connecting to "+target.Host); err != nil {
		return processor.Result{}, err
	}
	limited, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, http.MethodGet, target.String(), nil)
	if err != nil {
		return processor.Result{}, badURL("This is not a URL that can be fetched.")
	}
	request.Header.Set("User-Agent", h.userAgent)
	request.Header.Set("Accept", "text/html, application/xhtml+xml, text/plain;q=0.8")
	response, err := h.client.Do(request)
	if err != nil {
		return processor.Result{}, explain(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := requirePage(response); err != nil {
		return processor.Result{}, err
	}

	body, err := h.download(ctx, job, response)
	if err != nil {
		return processor.Result{}, err
	}
	if err := job.Progress(ctx, "extracting", 90, "Reading the page"); err != nil {
		return processor.Result{}, err
	}
	page, err := extract(body, response.Header.Get("Content-Type"), response.Request.URL)
	if err != nil {
		return processor.Result{}, processor.Fail("not-a-page", "The page cannot be read.", err)
	}
	page.Status, page.Bytes = response.StatusCode, len(body)
	return processor.JSON(page)
}

// requirePage refuses a response that is no page.
func requirePage(r *http.Response) error {
	if r.StatusCode != http.StatusOK {
		err := processor.Fail("bad-status", fmt.Sprintf("The server answered with status %d.", r.StatusCode), nil)
		if r.StatusCode >= 500 || r.StatusCode == http.StatusTooManyRequests {
			return processor.RetryAfter(0, err)
		}
		return err
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return processor.Fail("not-a-page", "The server does not say what it sent.", nil)
	}
	switch mediaType {
	case "text/html", "application/xhtml+xml", "text/plain":
		return nil
	}
	return processor.Fail("not-a-page", fmt.Sprintf("The server sent %s, neither HTML nor text.", mediaType), nil)
}

// download reads the body, with its percentage if the server said how long it is.
func (h *Fetch) download(ctx context.Context, job *processor.Job, r *http.Response) ([]byte, error) {
	tooLarge := processor.Fail("too-large", fmt.Sprintf("The page is larger than %d bytes.", h.maxBytes), nil)
	if r.ContentLength > h.maxBytes {
		return nil, tooLarge
	}
	if err := job.Progress(ctx, "downloading", 10, "Downloading"); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	for {
		n, err := io.CopyN(&body, r.Body, 32<<10)
		if int64(body.Len()) > h.maxBytes {
			return nil, tooLarge
		}
		if errors.Is(err, io.EOF) {
			return body.Bytes(), nil
		}
		if err != nil {
			return nil, explain(ctx, err)
		}
		if r.ContentLength > 0 && n > 0 {
			if err := job.Percent(ctx, 10+80*float64(body.Len())/float64(r.ContentLength)); err != nil {
				return nil, err
			}
		}
	}
}

// explain puts an error of the client into a class. It says no more than that, so that
// nobody can find out by it which machines and ports there are.
func explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, errRedirects) {
		return processor.Fail("unreachable", fmt.Sprintf("The page redirects more than %d times.", maxRedirects), nil)
	}
	if egress.Blocked(err) {
		return errBlocked
	}
	if f, ok := errors.AsType[*urlError](err); ok { // of a redirect
		return f.failure
	}
	return processor.RetryAfter(0, processor.Fail("unreachable", "The server cannot be reached.", nil))
}

// fetchSlips are words that others use for the field.
var fetchSlips = map[string]string{"uri": "url", "href": "url", "link": "url", "address": "url", "target": "url", "page": "url"}

// parseTarget returns the URL that a job asks for.
func parseTarget(job *processor.Job) (*url.URL, error) {
	var text string
	switch mediaType, _, _ := mime.ParseMediaType(job.Content.Type); {
	case len(job.Content.Data) == 0 && job.Call != nil:
		query, err := queryOf(job, "fetch", "url")
		if err != nil {
			return nil, err
		}
		text = query.Get("url")
	case mediaType == "text/plain":
		text = string(job.Content.Data)
	default:
		var form struct {
			URL string `json:"url"`
		}
		if err := decode(job, &form, "fetch", fetchSlips); err != nil {
			return nil, err
		}
		text = form.URL
	}
	text = strings.TrimSpace(text)
	if len(text) > 2048 {
		return nil, badURL("The URL is longer than 2048 bytes.")
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, badURL("This is not a URL.")
	}
	if err := checkURL(u); err != nil {
		if f, ok := errors.AsType[*urlError](err); ok {
			return nil, f.failure
		}
		return nil, err
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}
