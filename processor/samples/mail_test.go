package samples

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// mailbox is an SMTP server that keeps what it takes.
type mailbox struct {
	url string

	mu      sync.Mutex
	mails   []received
	refuses map[string]error // by command
	hangs   chan struct{}    // if not nil: closed when DATA has come, which is never answered
}

type received struct {
	from, user string
	to         []string
	text       string
}

// session is one connection to a mailbox.
type session struct {
	*mailbox
	received
	conn *smtp.Conn
}

func (s *session) Reset()        { s.from, s.to = "", nil }
func (s *session) Logout() error { return nil }

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != "secret" {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return s.refuses["MAIL"]
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return s.refuses["RCPT"]
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if s.hangs != nil {
		close(s.hangs)
		_, _ = s.conn.Conn().Read(make([]byte, 1)) // until the client has gone
	}
	if err := cmp.Or(err, s.refuses["DATA"]); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = string(text)
	s.mails = append(s.mails, s.received)
	return nil
}

// newMailbox starts one; with a certificate it takes STARTTLS, or TLS from the beginning.
func newMailbox(t *testing.T, scheme string, secure *tls.Config) *mailbox {
	m := &mailbox{refuses: make(map[string]error)}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{mailbox: m, conn: c}, m.refuses["HELO"]
	}))
	server.Domain, server.TLSConfig = "mail.example.org", secure
	server.ErrorLog = quiet{}
	var listener net.Listener
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.url = scheme + "://" + listener.Addr().String()
	if scheme == "smtps" {
		listener = tls.NewListener(listener, secure)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = listener.Close() // which the server does not know yet if it was closed before it served
		<-served
	})
	return m
}

// all returns what has come.
func (m *mailbox) all() []received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mails)
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// options returns those by which mail goes to example.org through a server.
func (m *mailbox) options(query string) MailOptions {
	u, err := url.Parse(m.url + query)
	if err != nil {
		panic(err)
	}
	return MailOptions{
		Server: u, From: &netmail.Address{Name: "Hark", Address: "hark@gateway.example"},
		Domains: []string{"example.org", "example.net"}, Timeout: 20 * time.Second,
	}
}

func sendMail(ctx context.Context, o MailOptions, content string) (processor.Result, error) {
	job := processor.NewJob(lifecycle.Request{ID: "r-1", CreatedAt: time.Unix(1_700_000_000, 5)},
		lifecycle.Content{Type: "application/json", Data: []byte(content)}, nil)
	return NewMail(o, slog.New(slog.DiscardHandler)).Process(ctx, job)
}

const hello = `{"to":"ann@example.org","subject":"Hello","text":"Hi"}`

// TestMailIsSent: a server gets what the content says, from whom the options say, under an id that
// is the request's.
func TestMailIsSent(t *testing.T) {
	m := newMailbox(t, "smtp", nil)
	result, err := sendMail(t.Context(), m.options("?tls=none"), `{"to":["Ann <ann@example.org>","bob@EXAMPLE.net"],`+
		`"subject":"Grüße","text":"Guten Tag\n.\nEnde","html":"<p>Guten Tag</p>"}`)
	if err != nil {
		t.Fatal(err)
	}
	const id = "<r-1.1700000000000000005@gateway.example>"
	var answer struct {
		MessageID string   `json:"messageId"`
		To        []string `json:"to"`
	}
	if err := json.Unmarshal(result.Data, &answer); err != nil || answer.MessageID != id || len(answer.To) != 2 {
		t.Errorf("%s, %v", result.Data, err)
	}
	mails := m.all()
	if len(mails) != 1 {
		t.Fatalf("%d mails", len(mails))
	}
	got := mails[0]
	if got.from != "hark@gateway.example" || !slices.Equal(got.to, []string{"ann@example.org", "bob@EXAMPLE.net"}) {
		t.Errorf("from %s to %s", got.from, got.to)
	}
	parsed, err := netmail.ReadMessage(strings.NewReader(got.text))
	if err != nil {
		t.Fatal(err)
	}
	subject, _ := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
	if subject != "Grüße" || parsed.Header.Get("Message-Id") != id || parsed.Header.Get("From") != `"Hark" <hark@gateway.example>` {
		t.Errorf("headers %v", parsed.Header)
	}
	for _, part := range []string{"multipart/alternative", "text/plain", "\n.\r\nEnde", "text/html", "<p>Guten Tag</p>"} {
		if !strings.Contains(got.text, part) {
			t.Errorf("%q is not in\n%s", part, got.text)
		}
	}
}

// TestMailIsSecured: with a password mail goes by STARTTLS or TLS, to a server with the right
// certificate, or not at all.
func TestMailIsSecured(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	secure := &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}
	transport, _ := web.Client().Transport.(*http.Transport)
	for name, test := range map[string]struct {
		scheme, userinfo string
		plain, distrust  bool
		code             string
	}{
		"STARTTLS":               {scheme: "smtp", userinfo: "ann:secret"},
		"TLS":                    {scheme: "smtps", userinfo: "ann:secret"},
		"another password":       {scheme: "smtp", userinfo: "ann:other", code: "refused"},
		"no STARTTLS":            {scheme: "smtp", userinfo: "ann:secret", plain: true, code: "unreachable"},
		"no STARTTLS, no name":   {scheme: "smtp", plain: true, code: "unreachable"},
		"STARTTLS, not trusted":  {scheme: "smtp", distrust: true, code: "unreachable"},
		"TLS, not to be trusted": {scheme: "smtps", distrust: true, code: "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			config := secure
			if test.plain {
				config = nil
			}
			m := newMailbox(t, test.scheme, config)
			o := m.options("")
			if !test.distrust {
				o.TLS = transport.TLSClientConfig
			}
			if user, password, given := strings.Cut(test.userinfo, ":"); given {
				o.Server.User = url.UserPassword(user, password)
			}
			_, err := sendMail(t.Context(), o, hello)
			mails := m.all()
			if test.code != "" {
				if code(err) != test.code || len(mails) != 0 {
					t.Errorf("%v and %d mails, want %s", err, len(mails), test.code)
				}
			} else if err != nil || len(mails) != 1 || mails[0].user != "ann" {
				t.Errorf("%v, %+v", err, mails)
			}
		})
	}
}

// TestMailErrors: what the server refuses for good ends the request, all else is tried again, and
// nothing of the server but its status is told.
func TestMailErrors(t *testing.T) {
	for name, test := range map[string]struct {
		command string
		code    int
		want    string
		retried bool
	}{
		"no such mailbox":   {"RCPT", 550, "refused", false},
		"mailbox full":      {"RCPT", 452, "deferred", true},
		"not this sender":   {"MAIL", 553, "refused", false},
		"spam":              {"DATA", 554, "refused", false},
		"greylisted":        {"DATA", 451, "deferred", true},
		"not this client":   {"HELO", 550, "refused", false},
		"too many of these": {"HELO", 421, "deferred", true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMailbox(t, "smtp", nil)
			m.refuses[test.command] = &smtp.SMTPError{
				Code: test.code, EnhancedCode: smtp.EnhancedCode{test.code / 100, 7, 1}, Message: "mx-7.internal says no",
			}
			_, err := sendMail(t.Context(), m.options("?tls=none"), hello)
			if code(err) != test.want || tried(t, err) != test.retried {
				t.Errorf("%v, want %s", err, test.want)
			}
			if strings.Contains(err.Error(), "internal") || !strings.Contains(err.Error(), strconv.Itoa(test.code)) {
				t.Error(err)
			}
			if mails := m.all(); len(mails) != 0 {
				t.Errorf("%d mails", len(mails))
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		m := newMailbox(t, "smtp", nil)
		o := m.options("?tls=none")
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		o.Server.Host = listener.Addr().String()
		_ = listener.Close()
		if _, err = sendMail(t.Context(), o, hello); code(err) != "unreachable" || !tried(t, err) {
			t.Error(err)
		}
	})
}

// tried reports whether an attempt that ends with an error is followed by another one.
func tried(t *testing.T, err error) bool {
	t.Helper()
	again := fmt.Sprintf("%T", err) == fmt.Sprintf("%T", processor.RetryAfter(0, nil))
	if _, failed := errors.AsType[*lifecycle.Failure](err); !failed {
		t.Errorf("%v has no code", err)
	}
	return again
}

// TestMailStops: an attempt that nobody needs any more hangs up, whatever the server does.
func TestMailStops(t *testing.T) {
	m := newMailbox(t, "smtp", nil)
	m.hangs = make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-m.hangs
		cancel(processor.ErrCanceled)
	}()
	if _, err := sendMail(ctx, m.options("?tls=none"), hello); !errors.Is(err, processor.ErrCanceled) {
		t.Error(err)
	}
}

// TestMailIsNoRelay: content that would reach another domain, add a header, or say whom the mail is
// from, reaches no server.
func TestMailIsNoRelay(t *testing.T) {
	m := newMailbox(t, "smtp", nil)
	for content, want := range map[string]string{
		`{"to":"ann@example.com","text":"x"}`:                                               "recipient-not-allowed",
		`{"to":"ann@sub.example.org","text":"x"}`:                                           "recipient-not-allowed",
		`{"to":"ann@example.org.evil.example","text":"x"}`:                                  "recipient-not-allowed",
		`{"to":["ann@example.org","bob@evil.example"],"text":"x"}`:                          "recipient-not-allowed",
		`{"to":"bob%evil.example@example.org","text":"x"}`:                                  "recipient-not-allowed",
		`{"to":"evil.example!bob@example.org","text":"x"}`:                                  "recipient-not-allowed",
		`{"to":"\"bob@evil.example\"@example.org","text":"x"}`:                              "recipient-not-allowed",
		`{"to":"\"a>\\r\\nRCPT TO:<b\"@example.org","text":"x"}`:                            "recipient-not-allowed",
		`{"to":"ann@example.org, bob@evil.example","text":"x"}`:                             "bad-options",
		`{"to":"@evil.example:ann@example.org","text":"x"}`:                                 "bad-options",
		`{"to":"ann@example.org\r\nBcc: bob@evil.example","text":"x"}`:                      "bad-options",
		`{"to":[],"text":"x"}`:                                                              "bad-options",
		`{"to":null,"text":"x"}`:                                                            "bad-options",
		`{"text":"x"}`:                                                                      "bad-options",
		`{"to":"ann@example.org"}`:                                                          "bad-options",
		`{"to":"ann@example.org","subject":"a\nBcc: b@c.example","text":"x"}`:               "bad-options",
		`{"to":"ann@example.org","from":"boss@example.org","text":"x"}`:                     "bad-options",
		`{"to":"ann@example.org","bcc":"b@evil.example","text":"x"}`:                        "bad-options",
		`{"to":7,"text":"x"}`:                                                               "bad-content",
		`{"to":[` + strings.Repeat(`"a@example.org",`, 50) + `"b@example.org"],"text":"x"}`: "bad-options",
	} {
		if _, err := sendMail(t.Context(), m.options("?tls=none"), content); code(err) != want {
			t.Errorf("%s: %v, want %s", content, err, want)
		}
	}
	if mails := m.all(); len(mails) != 0 {
		t.Errorf("%+v", mails)
	}
}

// TestMailFlags: there is no sample without a server, and none of half of what it needs; no error
// shows a password.
func TestMailFlags(t *testing.T) {
	whole := Flags{MailServer: "smtp://ann:secret@mail.example:587", MailFrom: "Hark <hark@example.org>", MailDomains: []string{"example.org"}}
	for name, test := range map[string]struct {
		change func(*Flags)
		says   string // empty: it is right
	}{
		"whole":               {func(*Flags) {}, ""},
		"TLS":                 {func(f *Flags) { f.MailServer = "smtps://mail.example" }, ""},
		"none":                {func(f *Flags) { f.MailServer = "smtp://mail.example:25?tls=none" }, ""},
		"no sender":           {func(f *Flags) { f.MailFrom = "" }, "mail-from is not given"},
		"no address":          {func(f *Flags) { f.MailFrom = "Hark" }, "mail-from"},
		"no domains":          {func(f *Flags) { f.MailDomains = nil }, "mail-domains is not given"},
		"all domains":         {func(f *Flags) { f.MailDomains = []string{"*"} }, `mail-domains: "*"`},
		"another scheme":      {func(f *Flags) { f.MailServer = "http://ann:secret@mail.example" }, "mail-server"},
		"no URL":              {func(f *Flags) { f.MailServer = "smtp://ann:secret@mail.example:x" }, "mail-server"},
		"no host":             {func(f *Flags) { f.MailServer = "smtp://ann:secret@:25" }, "mail-server"},
		"password in the air": {func(f *Flags) { f.MailServer += "?tls=none" }, "readable"},
		"another option":      {func(f *Flags) { f.MailServer += "?tls=no" }, "mail-server"},
	} {
		flags := whole
		test.change(&flags)
		o, err := flags.Parse()
		if test.says == "" {
			if handlers, failed := Handlers(o); err != nil || failed != nil || handlers["mail"] == nil {
				t.Errorf("%s: %v, %v", name, err, failed)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	o, err := Flags{MailFrom: whole.MailFrom}.Parse()
	if handlers, failed := Handlers(o); err != nil || failed != nil || handlers["mail"] != nil {
		t.Errorf("without a server: %v, %v", err, failed)
	}
}

func FuzzMailContent(f *testing.F) {
	f.Add(hello)
	f.Add(`{"to":["Ann <ann@example.org>","\"b c\"@example.net"],"subject":"x","text":"y","html":"z"}`)
	f.Add(`{"to":"a%b@example.org","html":"<p>"}`)
	h := NewMail((&mailbox{url: "smtp://127.0.0.1:1"}).options(""), slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, content string) {
		order, to, err := h.parse(processor.NewJob(lifecycle.Request{}, lifecycle.Content{Type: "application/json", Data: []byte(content)}, nil))
		if err != nil {
			if !slices.Contains([]string{"bad-options", "bad-content", "recipient-not-allowed"}, code(err)) {
				t.Errorf("error %v", err)
			}
			return
		}
		if len(to) != len(order.To) || len(to) == 0 || len(to) > maxRecipients || order.Text == "" && order.HTML == "" {
			t.Errorf("%+v to %v", order, to)
		}
		for _, a := range to {
			if domain := strings.ToLower(a.Address); !strings.HasSuffix(domain, "@example.org") && !strings.HasSuffix(domain, "@example.net") || strings.Count(domain, "@") != 1 {
				t.Errorf("to %q", a.Address)
			}
		}
	})
}
