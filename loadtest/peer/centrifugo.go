package peer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/hark-push/hark/loadtest/client"
)

// centrifugo is Centrifugo, version 6, or its stand-in (see loadtest/centrifuge), which speaks the
// same wire. A follower is subscribed to the channels in its token; it could recover after a loss,
// as Hark's can.
type centrifugo struct {
	addr   string
	client *client.Client
	bytes  int // of a message
}

// Secrets of a server that lives as long as the run.
const (
	centrifugoAPIKey = "load-test-api-key"
	centrifugoSecret = "load-test-token-secret"
)

// History that peers keep of each channel, as far as they do.
const (
	historySize = 100
	historyTTL  = "5m"
)

func startCentrifugo(standIn, shared bool, bytes int) (_ *Target, err error) {
	t := &Target{Name: "Centrifugo"}
	if standIn {
		t.Name = "centrifuge (the library of Centrifugo)"
	}
	defer t.StopUnless(&err)
	dir, err := t.Folder()
	if err != nil {
		return nil, err
	}
	var binary string
	if standIn {
		binary, err = buildModule(dir, "loadtest/centrifuge")
	} else {
		binary, err = installed("centrifugo", "version 6, from https://centrifugal.dev; or take --on=centrifuge, which stands in for it")
	}
	if err != nil {
		return nil, err
	}
	redis := ""
	if shared {
		t.Name += " on Redis"
		s, err := t.Servers("redis")
		if err != nil {
			return nil, err
		}
		redis = s.Redis
	}
	ports, err := FreePorts(1)
	if err != nil {
		return nil, err
	}
	c := &centrifugo{addr: "127.0.0.1:" + ports[0], client: client.New(), bytes: bytes}
	t.Peer = c
	config := filepath.Join(dir, "config.json")
	text, err := centrifugoConfig(c.addr, redis)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, err
	}
	if err := t.run(filepath.Base(binary), exec.Command(binary, "--config="+config)); err != nil {
		return nil, err
	}
	return t, reachable(c.addr)
}

// centrifugoConfig returns the configuration for an address, with the Redis engine if there is a
// URL. What is not said has its default.
func centrifugoConfig(addr, redis string) ([]byte, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	engine := map[string]any{"type": "memory"}
	if redis != "" {
		engine = map[string]any{"type": "redis", "redis": map[string]any{"address": redis}}
	}
	return json.Marshal(map[string]any{
		"http_server": map[string]any{"address": host, "port": number},
		"log":         map[string]any{"level": "none"},
		"client":      map[string]any{"token": map[string]any{"hmac_secret_key": centrifugoSecret}},
		"http_api":    map[string]any{"key": centrifugoAPIKey},
		"uni_sse":     map[string]any{"enabled": true},
		"engine":      engine,
		"channel": map[string]any{"without_namespace": map[string]any{
			"history_size": historySize, "history_ttl": historyTTL, "force_recovery": true,
		}},
		"usage_stats": map[string]any{"disabled": true},
	})
}

// Create does nothing: a channel is there when it is used.
func (c *centrifugo) Create(string) error { return nil }

func (c *centrifugo) Follow(wire, channel string) (*client.Follower, error) {
	f, err := client.Dial(c.addr)
	if err != nil {
		return nil, err
	}
	f.Number = func(_, message []byte) (int, bool) { return client.After(message, `"n":`, 0) }
	token := signed(map[string]any{"typ": "JWT"}, map[string]any{"sub": "", "channels": []string{channel}}, centrifugoSecret)
	connect := `{"token":"` + token + `"}`
	if wire == "ws" {
		err = f.Socket("/connection/websocket", "")
		f.Message = (*client.Follower).Line
		if err == nil {
			err = f.Write(1, []byte(`{"id":1,"connect":`+connect+`}`))
		}
	} else {
		err = f.Stream("/connection/uni_sse?cf_connect=" + url.QueryEscape(connect))
	}
	if err != nil {
		return nil, err
	}
	// The answer to connect says that it follows.
	_, welcome, err := f.Message(f)
	if err == nil && !bytes.Contains(welcome, []byte(`"`+channel+`":{`)) {
		err = fmt.Errorf("not subscribed: %s", welcome)
	}
	f.Skip = func(message []byte) bool {
		ping := string(bytes.TrimSpace(message)) == "{}"
		if ping && wire == "ws" {
			_ = f.Write(1, message) // if it fails, reading does
		}
		return ping
	}
	return f, err
}

func (c *centrifugo) Publish(channel string, n int) error {
	body := fmt.Appendf(nil, `{"channel":"%s","data":%s}`, channel, Payload(n, c.bytes))
	answer, err := client.Call(c.client, "http://"+c.addr+"/api/publish", "application/json", body, "X-API-Key", centrifugoAPIKey)
	if err == nil && !bytes.Contains(answer, []byte(`"result"`)) {
		// Errors are answered with 200 too.
		err = fmt.Errorf("publish: %s", answer)
	}
	return err
}

func (*centrifugo) Numbers() bool { return false }

func (c *centrifugo) Rest() { c.client.Rest() }

// installed finds a program on PATH.
func installed(name, source string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not on PATH; install %s", name, source)
	}
	return path, nil
}
