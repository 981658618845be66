package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Bounds of a single step with the server, so that one that hangs is noticed.
const (
	dialTimeout  = 10 * time.Second // TCP, TLS and the opening of the connection together
	callTimeout  = 15 * time.Second // a declaration, the opening of a channel
	writeTimeout = 10 * time.Second // one write; the library holds a lock over it
	closeTimeout = 2 * time.Second
)

// server is one URL. addr, user and vhost are safe to show, url has the password.
type server struct{ url, addr, user, vhost string }

// RefusedError is a server's no to a user: a wrong password, a virtual host that is not there or
// not the user's, or missing permissions.
type RefusedError struct {
	Addr, User, VHost string
	Err               error // what the server said
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("RabbitMQ at %s refuses the user %q in the virtual host %q: %v", e.Addr, e.User, e.VHost, e.Err)
	if host, _, err := net.SplitHostPort(e.Addr); err == nil && e.User == "guest" {
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			text += " (a server lets guest in from its own machine alone, unless loopback_users in rabbitmq.conf says otherwise)"
		}
	}
	return text
}

func (e *RefusedError) Unwrap() error { return e.Err }

// refused returns err, as a RefusedError if it is that.
func (s server) refused(err error) error {
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Server && (e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed) {
		return &RefusedError{s.addr, s.user, s.vhost, e}
	}
	return err
}

func parseURLs(urls []string) ([]server, error) {
	if len(urls) == 0 {
		return nil, errors.New("rabbitmq: no URL")
	}
	var servers []server
	for i, url := range urls {
		uri, err := amqp.ParseURI(url)
		if err != nil {
			// Not the library's words alone: they can hold the password.
			return nil, fmt.Errorf("rabbitmq: URL %d is not of the form amqp://user:password@host:port/vhost", i+1)
		}
		servers = append(servers, server{url, net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port)), uri.Username, uri.Vhost})
	}
	return servers, nil
}

// dial opens a connection and returns it with the socket below, which can be closed
// whatever the library's locks are doing.
func (b *Broker) dial(ctx context.Context, s server, purpose string) (*amqp.Connection, net.Conn, error) {
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(b.options.Name + " " + purpose)
	var tlsConfig *tls.Config
	if b.options.TLS != nil {
		tlsConfig = b.options.TLS.Clone() // the library sets its ServerName
	}
	var socket net.Conn
	stop := func() bool { return true }
	defer func() { stop() }()
	conn, err := amqp.DialConfig(s.url, amqp.Config{
		SASL:            logins(s, properties),
		Heartbeat:       b.options.Heartbeat,
		TLSClientConfig: tlsConfig,
		Properties:      properties,
		Recovery:        nil, // it acknowledges messages that were never processed
		Dial: func(network, addr string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: dialTimeout}
			raw, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			// Until the connection is open its deadline is its only bound; the
			// library clears it then.
			if err := raw.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
				_ = raw.Close()
				return nil, err
			}
			socket = raw
			stop = context.AfterFunc(ctx, func() { _ = raw.Close() })
			return newJoined(raw), nil
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return conn, socket, nil
}

// login is a user and a password that the server refuses in words. Without being asked
// for them it just closes the connection after some seconds, as a server does that
// goes down, and the library cannot ask.
type login struct {
	*amqp.PlainAuth
	properties amqp.Table
}

// logins returns nil, which leaves it to the library, for a URL that asks for another
// way.
func logins(s server, properties amqp.Table) []amqp.Authentication {
	uri, err := amqp.ParseURI(s.url)
	if err != nil || uri.AuthMechanism != nil {
		return nil
	}
	return []amqp.Authentication{login{uri.PlainAuth(), properties}}
}

// Response is called when the library has made up its capabilities and before it
// sends them.
func (l login) Response() string {
	if capabilities, ok := l.properties["capabilities"].(amqp.Table); ok {
		capabilities["authentication_failure_close"] = true
	}
	return l.PlainAuth.Response()
}

// lasting reports whether err will not go away by itself.
func lasting(err error) bool {
	if _, ok := errors.AsType[*MismatchError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*MissingError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return e.Server && (e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed || e.Code == amqp.PreconditionFailed)
	}
	return false
}
