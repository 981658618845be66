package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/settings"
	"github.com/hark-push/hark/version"
)

// Remote are the flags of verbs that talk with a gateway, by their tags, which are those of
// github.com/alecthomas/kong.
type Remote struct {
	URL      string        `name:"url" env:"HARK_URL" default:"http://127.0.0.1:8080" placeholder:"URL" help:"The gateway, or the proxy in front of it."`
	Key      string        `name:"key" placeholder:"FILE" help:"File with the API key or the token. The variable HARK_KEY has the key itself."`
	Patience time.Duration `default:"30s" help:"How long to try again while no gateway answers, or each stream ends at once without an event."`
}

// Client talks with one gateway. Its methods may be called concurrently.
type Client struct {
	base     *url.URL
	key      string
	patience time.Duration
	http     *http.Client
}

// Client returns a client, or what is wrong with the flags.
func (r Remote) Client() (*Client, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, settings.NotAllowed("url", "(not shown)", "a URL like https://push.example.org, without a user or a query")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	key, err := r.Secret()
	if err != nil {
		return nil, err
	}
	if err := settings.Between("patience", r.Patience, 0, 24*time.Hour); err != nil {
		return nil, err
	}
	return &Client{base: u, key: key, patience: r.Patience, http: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 10 * time.Second,
			ResponseHeaderTimeout: 2 * time.Minute, DisableCompression: true,
		},
		// The key is for whom it was given to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Secret reads the key, "" if there is none. What is wrong with it shows nothing of it.
func (r Remote) Secret() (string, error) {
	if r.Key == "" {
		key, set := os.LookupEnv("HARK_KEY")
		if set && strings.TrimSpace(key) == "" {
			return "", Usage(settings.Empty("HARK_KEY"))
		}
		return checkKey("HARK_KEY", key)
	}
	text, err := os.ReadFile(r.Key)
	if err != nil {
		if strings.HasPrefix(r.Key, "hark_") || strings.Count(r.Key, ".") == 2 && len(r.Key) > 60 {
			return "", settings.NotAllowed("key", "(not shown)", "the name of a file: everybody on this machine can read a command line. Put the key into a file, or into the variable HARK_KEY")
		}
		return "", settings.NotAllowed("key", r.Key, "a file that can be read: "+err.Error())
	}
	if strings.TrimSpace(string(text)) == "" {
		return "", settings.NotAllowed("key", r.Key, "a file with a key in it; it is empty")
	}
	return checkKey("key", string(text))
}

func checkKey(where, text string) (string, error) {
	key := strings.TrimSpace(text)
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", settings.NotAllowed(where, "(not shown)", "one key, in a line of its own, and nothing else")
	}
	return key, nil
}

// unreachableError is that no gateway answered.
type unreachableError struct {
	base string
	err  error
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("no gateway answers at %s: %v. Start it, or name another one with --url (HARK_URL)", e.base, e.err)
}

func (e *unreachableError) Unwrap() error { return e.err }

// ProblemError is what a gateway says of a call that it refuses (RFC 9457).
type ProblemError struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"errors"`

	wait time.Duration // what Retry-After says
	ours bool          // a gateway said it, and no proxy
}

func (p *ProblemError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%d)", cmp.Or(p.Title, http.StatusText(p.Status), "refused"), p.Status)
	if p.Detail != "" {
		b.WriteString(": " + p.Detail)
	}
	for _, e := range p.Errors {
		fmt.Fprintf(&b, "\n  %s %s", e.Pointer, e.Detail)
	}
	switch p.Status {
	case http.StatusUnauthorized:
		b.WriteString("\n  Name a file with your key by --key, or set HARK_KEY.")
	case http.StatusForbidden:
		b.WriteString("\n  The key that was sent does not have the role for this.")
	}
	return b.String()
}

// passing reports whether the call may be taken when it is made again.
func (p *ProblemError) passing() bool {
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// call is one call.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	body         []byte
	// Again: the call does no more when it is made twice, so it is made again until it is answered.
	again bool
}

// do makes a call, and returns the answer if it is one of 2xx. Close its body. Other errors than a
// [*ProblemError] and the context's are that nobody answered.
func (c *Client) do(ctx context.Context, to call) (*http.Response, error) {
	began := time.Now()
	for try := 1; ; try++ {
		res, err := c.once(ctx, to)
		if err == nil {
			return res, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		wait := backoff.Jitter(backoff.Exponential(try, 200*time.Millisecond, 5*time.Second))
		p, refused := errors.AsType[*ProblemError](err)
		if refused && !p.passing() || !to.again {
			return nil, c.told(err, refused)
		}
		if refused {
			wait = max(wait, p.wait)
		}
		if time.Since(began)+wait > c.patience {
			return nil, c.told(err, refused)
		}
		if err := backoff.Wait(ctx, wait); err != nil {
			return nil, err
		}
	}
}

func (c *Client) told(err error, refused bool) error {
	if refused {
		return err
	}
	return &unreachableError{c.base.String(), err}
}

// once makes a call once.
func (c *Client) once(ctx context.Context, to call) (*http.Response, error) {
	u := c.base.String() + to.path
	if len(to.query) > 0 {
		u += "?" + to.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, to.method, u, bytes.NewReader(to.body))
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, to.header)
	r.Header.Set("User-Agent", "hark/"+version.String())
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	res, err := c.http.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the URL is told once
		}
		return nil, err
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	return nil, problemOf(res)
}

// problemOf reads what an answer says that is none of 2xx.
func problemOf(res *http.Response) *ProblemError {
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	p := &ProblemError{}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(text, p) == nil {
		p.ours = true
	} else {
		*p = ProblemError{Detail: "the answer is none of a gateway's: is it the right --url, and what is in front of it?"}
		if to := res.Header.Get("Location"); to != "" && res.StatusCode < 400 {
			p.Detail = "it leads to " + to + ", which is not followed: name that with --url"
		}
	}
	p.Status = res.StatusCode
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		p.wait = time.Duration(min(seconds, 3600)) * time.Second
	}
	return p
}

// get reads a document.
func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	return c.ask(ctx, call{method: http.MethodGet, path: path, query: query, again: true}, into)
}

// ask makes a call and reads the answer; into may be nil.
func (c *Client) ask(ctx context.Context, to call, into any) error {
	res, err := c.do(ctx, to)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return fmt.Errorf("what %s answers to %s %s cannot be read: %w", c.base, to.method, to.path, err)
	}
	return nil
}

// pages reads a list page after page, of at most limit entries in all, 0 for any number, and calls
// f with each of them. member is the name of the list in the document.
func (c *Client) pages(ctx context.Context, path string, query url.Values, member string, limit int, f func(json.RawMessage) error) error {
	const most = 200 // of a page
	for n := 0; ; {
		size := most
		if limit > 0 {
			size = min(size, limit-n)
		}
		query.Set("limit", strconv.Itoa(size))
		var page map[string]json.RawMessage
		if err := c.get(ctx, path, query, &page); err != nil {
			return err
		}
		var entries []json.RawMessage
		var next *string
		if err := errors.Join(json.Unmarshal(page[member], &entries), json.Unmarshal(page["next"], &next)); err != nil {
			return fmt.Errorf("what %s answers to GET %s is no list: %w", c.base, path, err)
		}
		for _, e := range entries {
			if err := f(e); err != nil {
				return err
			}
		}
		n += len(entries)
		if next == nil || *next == "" || limit > 0 && n >= limit {
			return nil
		}
		query.Set("cursor", *next)
	}
}

// escaped is one segment of a path.
func escaped(segment string) string { return url.PathEscape(segment) }
