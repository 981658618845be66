package peer

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/hark-push/hark/loadtest/client"
)

// mercure is a Mercure.rocks hub, with server-sent events only. It keeps its history in bbolt, as
// Hark does.
type mercure struct {
	addr   string
	client *client.Client
	bytes  int    // of a message
	topic  string // parameter that names the topic to follow
	token  string // for publishing
}

// mercureKey signs tokens. A shorter one would not do for HS256.
const mercureKey = "load-test-key-of-at-least-32-bytes"

// mercureConfig is a Caddyfile. Streams are not cut now and then (write_timeout), and heartbeats
// come as often as Hark's.
const mercureConfig = `{
	admin off
	auto_https off
	log {
		output discard
	}
}
http://%[1]s {
	mercure {
		%[2]s
		transport bolt {
			path %[3]s
		}
		anonymous
		heartbeat 25s
		write_timeout 0s
	}
}
`

// Who may publish: in version 1 whoever the issuer says, before it whoever has the key.
const (
	mercureKeys0 = `publisher_jwt {env.MERCURE_PUBLISHER_JWT_KEY} HS256
		subscriber_jwt {env.MERCURE_SUBSCRIBER_JWT_KEY} HS256`
	mercureKeys1 = `issuer ` + mercureIssuer + ` {
			publisher {
				jwt {env.MERCURE_PUBLISHER_JWT_KEY} HS256
			}
			subscriber {
				jwt {env.MERCURE_SUBSCRIBER_JWT_KEY} HS256
			}
		}`
	mercureIssuer = "https://loadtest.invalid"
)

func startMercure(shared bool, bytes int) (_ *Target, err error) {
	if shared {
		return nil, errors.New("the free Mercure hub has no shared backend; run it without --backends=shared")
	}
	t := &Target{Name: "Mercure"}
	defer t.StopUnless(&err)
	binary, err := installed("mercure", "the hub from https://mercure.rocks")
	if err != nil {
		return nil, err
	}
	version, err := exec.Command(binary, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("mercure version: %w", err)
	}
	dir, ports, err := t.place(1)
	if err != nil {
		return nil, err
	}
	modern := mercureModern(version)
	keys := mercureKeys0
	if modern {
		keys = mercureKeys1
	}
	m := newMercure("127.0.0.1:"+ports[0], modern, bytes)
	t.Peer = m
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, fmt.Appendf(nil, mercureConfig, m.addr, keys, filepath.Join(dir, "mercure.db")), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "run", "--config", config, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "MERCURE_PUBLISHER_JWT_KEY="+mercureKey, "MERCURE_SUBSCRIBER_JWT_KEY="+mercureKey, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if err := t.run("mercure", cmd); err != nil {
		return nil, err
	}
	return t, reachable(m.addr)
}

// mercureModern says whether what the hub prints as its version is 1 or later. A development build
// is taken for one.
func mercureModern(version []byte) bool {
	number := regexp.MustCompile(`v?(\d+)\.\d+\.\d+`).FindSubmatch(version)
	return number == nil || !bytes.Equal(number[1], []byte("0"))
}

// newMercure returns a client of a hub. Its token has the claims of version 1, and those of before.
func newMercure(addr string, modern bool, bytes int) *mercure {
	m := &mercure{addr: addr, client: client.New(), bytes: bytes, topic: "topic"}
	if modern {
		m.topic = "match"
	}
	now := time.Now()
	m.token = signed(map[string]any{"typ": "at+jwt"}, map[string]any{
		"iss": mercureIssuer, "aud": m.url(), "sub": mercureIssuer, "client_id": mercureIssuer, "jti": "load-test",
		"iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(),
		"mercure": map[string]any{"publish": []string{"*"}},
		"authorization_details": []any{map[string]any{
			"type": "https://mercure.rocks/authorization-detail", "actions": []string{"publish"}, "topics": []any{map[string]any{"match": "*"}},
		}},
	}, mercureKey)
	return m
}

func (m *mercure) url() string { return "http://" + m.addr + "/.well-known/mercure" }

// Create does nothing: a topic is there when it is used.
func (m *mercure) Create(string) error { return nil }

func (m *mercure) Follow(wire, channel string) (*client.Follower, error) {
	if wire != "sse" {
		return nil, errors.New("a Mercure hub has no WebSocket; run it with --wire=sse")
	}
	f, err := client.Dial(m.addr)
	if err != nil {
		return nil, err
	}
	f.Number = func(_, message []byte) (int, bool) { return client.After(message, `"n":`, 0) }
	return f, f.Stream("/.well-known/mercure?" + m.topic + "=" + url.QueryEscape(channel))
}

func (m *mercure) Publish(channel string, n int) error {
	form := url.Values{"topic": {channel}, "data": {string(Payload(n, m.bytes))}}
	return client.Post(m.client, m.url(), "application/x-www-form-urlencoded", []byte(form.Encode()), "Authorization", "Bearer "+m.token)
}

func (*mercure) Numbers() bool { return false }

func (m *mercure) Rest() { m.client.Rest() }
