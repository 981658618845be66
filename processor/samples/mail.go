package samples

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	netmail "net/mail"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wneessen/go-mail"

	"github.com/hark-push/hark/processor"
)

// MailOptions of [NewMail].
type MailOptions struct {
	// Server is where mail goes: smtp://user:password@host:587 with STARTTLS, smtps:// with TLS
	// from the beginning, or smtp://host:25?tls=none. Required.
	Server *url.URL
	// From is whom all mail is from. Required.
	From *netmail.Address
	// Domains are those to which mail is sent; subdomains are others. Required.
	Domains []string
	// TLS of the connection. Default: the certificate authorities of the system.
	TLS *tls.Config
	// Timeout of sending one mail. Default 30 seconds.
	Timeout time.Duration
}

// The most that a mail may have.
const (
	maxRecipients = 50
	maxSubject    = 500 // characters
)

// Mail sends mail; see [NewMail].
type Mail struct {
	o   MailOptions
	log *slog.Logger
}

// NewMail returns a handler that sends a mail. Its content is JSON:
//
//	{"to": "ann@example.org", "subject": "Hello", "text": "…", "html": "…"}
//
// to is an address or a list of up to 50, of text and html one has to be there. Each address may be
// like "Ann <ann@example.org>". The result is JSON {"messageId": "…", "to": […]}.
//
// The mail comes from strangers, so whom it is from is not theirs to say, and it goes to the
// domains of the options alone. Every attempt at a request sends the same Message-ID, by which a
// mailbox can tell that it has the mail already: an attempt that was cut off may have sent it.
//
// Codes of failures: "bad-content", "bad-options", "recipient-not-allowed", "refused" (the server
// refused it for good, status 5xx), "deferred" (status 4xx) and "unreachable" (no connection, or
// not as it has to be), of which the last two are tried again. Of what the server says only its
// status is told, and all of it to the log.
func NewMail(o MailOptions, log *slog.Logger) *Mail {
	o.Timeout = cmp.Or(max(o.Timeout, 0), 30*time.Second)
	return &Mail{o, log}
}

// letter is the content of a mail request.
type letter struct {
	To      recipients `json:"to"`
	Subject string     `json:"subject"`
	Text    string     `json:"text"`
	HTML    string     `json:"html"`
}

// letterSlips are words that others use for the fields.
var letterSlips = map[string]string{
	"recipient": "to", "recipients": "to", "address": "to", "email": "to", "title": "subject", "body": "text",
	"message": "text", "content": "text", "plain": "text",
}

// recipients are one address or a list of them.
type recipients []string

// UnmarshalJSON implements [json.Unmarshaler].
func (r *recipients) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, (*[]string)(r))
	}
	*r = make(recipients, 1)
	return json.Unmarshal(data, &(*r)[0])
}

// Process sends one mail.
func (h *Mail) Process(ctx context.Context, job *processor.Job) (processor.Result, error) {
	order, to, err := h.parse(job)
	if err != nil {
		return processor.Result{}, err
	}
	message := mail.NewMsg(mail.WithNoDefaultUserAgent())
	message.FromMailAddress(h.o.From)
	message.ToMailAddress(to...)
	message.Subject(order.Subject)
	message.SetDateWithValue(job.SubmittedAt)
	_, domain, _ := strings.Cut(h.o.From.Address, "@")
	// With the time, because an id may be used again for another mail.
	message.SetMessageIDWithValue(fmt.Sprintf("%s.%d@%s", job.ID, job.SubmittedAt.UnixNano(), domain))
	if order.Text != "" {
		message.SetBodyString(mail.TypeTextPlain, order.Text)
	}
	switch {
	case order.HTML != "" && order.Text != "":
		message.AddAlternativeString(mail.TypeTextHTML, order.HTML)
	case order.HTML != "":
		message.SetBodyString(mail.TypeTextHTML, order.HTML)
	}
	if err := job.Progress(ctx, "sending", 10, "Handing the mail over"); err != nil {
		return processor.Result{}, err
	}
	// What fails after the server has taken the mail, like saying good-bye, is no failure of it.
	if err := h.send(ctx, message); err != nil && !message.IsDelivered() {
		h.log.LogAttrs(ctx, slog.LevelWarn, "a mail was not sent", slog.String("request", job.ID), slog.Any("error", err))
		return processor.Result{}, explainMail(ctx, err)
	}
	return processor.JSON(map[string]any{"messageId": message.GetMessageID(), "to": order.To})
}

// parse returns what a job asks for, and whom the mail goes to.
func (h *Mail) parse(job *processor.Job) (order letter, to []*netmail.Address, err error) {
	if _, err := queryOf(job, "mail"); err != nil {
		return order, nil, err
	}
	if err := decode(job, &order, "mail", letterSlips); err != nil {
		return order, nil, err
	}
	switch {
	case len(order.To) == 0 || len(order.To) > maxRecipients:
		return order, nil, badOptions(fmt.Sprintf(`"to" must be 1 to %d addresses.`, maxRecipients))
	case utf8.RuneCountInString(order.Subject) > maxSubject || strings.ContainsFunc(order.Subject, unicode.IsControl):
		return order, nil, badOptions(fmt.Sprintf(`"subject" must be one line of at most %d characters.`, maxSubject))
	case order.Text == "" && order.HTML == "":
		return order, nil, badOptions(`"text" or "html" must be there.`)
	}
	for _, text := range order.To {
		address, err := netmail.ParseAddress(text)
		if err != nil {
			return order, nil, badOptions(strconv.QuoteToGraphic(text[:min(len(text), 100)]) + " is no address of one mailbox.")
		}
		if !h.allowed(address.Address) {
			return order, nil, processor.Fail("recipient-not-allowed", "Mail is not sent to "+strconv.QuoteToGraphic(address.Address[:min(len(address.Address), 100)])+".", nil)
		}
		to = append(to, address)
	}
	return order, to, nil
}

var (
	domainName = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`)
	// mailboxName has none of the letters by which mail servers have been asked to pass mail on to
	// another domain than the one behind the @: user%other.org, other.org!user.
	mailboxName = regexp.MustCompile(`^[A-Za-z0-9#$&'*+/=?^_{|}~.-]{1,64}$`)
)

func validDomain(s string) bool { return len(s) <= 253 && domainName.MatchString(s) }

// allowed reports whether mail is sent to an address.
func (h *Mail) allowed(address string) bool {
	mailbox, domain, _ := strings.Cut(address, "@")
	return mailboxName.MatchString(mailbox) && validDomain(domain) && slices.ContainsFunc(h.o.Domains, func(d string) bool { return strings.EqualFold(d, domain) })
}

// send hands a mail to the server.
func (h *Mail) send(ctx context.Context, message *mail.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	secure := h.o.TLS.Clone()
	if secure == nil {
		secure = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	secure.ServerName = cmp.Or(secure.ServerName, h.o.Server.Hostname())
	implicit := h.o.Server.Scheme == "smtps"
	policy, port := mail.TLSMandatory, 587
	switch {
	case implicit:
		policy, port = mail.NoTLS, 465 // no STARTTLS in what is secured already
	case h.o.Server.RawQuery == "tls=none":
		policy, port = mail.NoTLS, 25
	}
	if p, err := strconv.Atoi(h.o.Server.Port()); err == nil {
		port = p
	}
	var opened net.Conn
	options := []mail.Option{
		mail.WithPort(port), mail.WithTLSConfig(secure), mail.WithTLSPolicy(policy), mail.WithTimeout(h.o.Timeout),
		mail.WithDialContextFunc(func(ctx context.Context, network, address string) (_ net.Conn, err error) {
			if implicit {
				opened, err = (&tls.Dialer{Config: secure}).DialContext(ctx, network, address)
			} else {
				opened, err = new(net.Dialer).DialContext(ctx, network, address)
			}
			return opened, err
		}),
	}
	if user := h.o.Server.User; user != nil {
		password, _ := user.Password()
		options = append(options, mail.WithUsername(user.Username()), mail.WithPassword(password),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthPlain, mail.SMTPAuthLogin))
	}
	client, err := mail.NewClient(h.o.Server.Hostname(), options...)
	if err != nil {
		return err
	}
	connection, err := client.DialToSMTPClientWithContext(ctx)
	if opened != nil {
		defer func() { _ = opened.Close() }()
		// The client looks at the context only while it dials.
		defer context.AfterFunc(ctx, func() { _ = opened.Close() })()
	}
	if err != nil {
		return err
	}
	return errors.Join(client.SendWithSMTPClient(connection, message), client.CloseWithSMTPClient(connection))
}

// explainMail puts an error of sending into a class.
func explainMail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	code, status := 0, ""
	if e, ok := errors.AsType[*mail.SendError](err); ok {
		code, status = e.ErrorCode(), e.EnhancedStatusCode()
	} else if e, ok := errors.AsType[*textproto.Error](err); ok {
		// Before there was a mail to talk of.
		code = e.Code
	}
	said := strings.TrimSpace(fmt.Sprint(code, " ", status))
	switch {
	case code >= 500:
		return processor.Fail("refused", "The mail server refused the mail ("+said+").", nil)
	case code >= 400:
		return processor.RetryAfter(0, processor.Fail("deferred", "The mail server does not take the mail now ("+said+").", nil))
	}
	return processor.RetryAfter(0, processor.Fail("unreachable", "The mail server cannot be reached.", nil))
}
