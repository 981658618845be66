package main

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
)

// centrifugo is Centrifugo, version 6, or its stand-in (see loadtest/centrifuge), which speaks the same
// wire. A follower is subscribed to the channels in its token; it could recover after a loss, as Hark's can.
type centrifugo struct {
	addr   string
	client *client
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

func startCentrifugo(standIn, shared bool, bytes int) (_ *target, err error) {
	t := &target{name: "Centrifugo"}
	if standIn {
		t.name = "centrifuge (the library of Centrifugo)"
	}
	defer t.stopUnless(&err)
	dir, err := t.folder()
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
		t.name += " on Redis"
		s, err := t.servers("redis")
		if err != nil {
			return nil, err
		}
		redis = s.redis
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	c := &centrifugo{addr: "127.0.0.1:" + ports[0], client: newClient(), bytes: bytes}
	t.peer = c
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

// centrifugoConfig returns the configuration for an address, with the Redis engine if there is a URL.
// What is not said has its default.
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

// create does nothing: a channel is there when it is used.
func (c *centrifugo) create(string) error { return nil }

func (c *centrifugo) follow(wire, channel string) (*follower, error) {
	f, err := dial(c.addr)
	if err != nil {
		return nil, err
	}
	f.number = func(_, message []byte) (int, bool) { return after(message, `"n":`, 0) }
	token := signed(map[string]any{"typ": "JWT"}, map[string]any{"sub": "", "channels": []string{channel}}, centrifugoSecret)
	connect := `{"token":"` + token + `"}`
	if wire == "ws" {
		err = f.socket("/connection/websocket", "")
		f.message = (*follower).line
		if err == nil {
			err = f.write(1, []byte(`{"id":1,"connect":`+connect+`}`))
		}
	} else {
		err = f.stream("/connection/uni_sse?cf_connect=" + url.QueryEscape(connect))
	}
	if err != nil {
		return nil, err
	}
	// The answer to connect says that it follows.
	_, welcome, err := f.message(f)
	if err == nil && !bytes.Contains(welcome, []byte(`"`+channel+`":{`)) {
		err = fmt.Errorf("not subscribed: %s", welcome)
	}
	f.skip = func(message []byte) bool {
		ping := string(bytes.TrimSpace(message)) == "{}"
		if ping && wire == "ws" {
			_ = f.write(1, message) // if it fails, reading does
		}
		return ping
	}
	return f, err
}

func (c *centrifugo) publish(channel string, n int) error {
	body := fmt.Appendf(nil, `{"channel":"%s","data":%s}`, channel, payload(n, c.bytes))
	answer, err := call(c.client, "http://"+c.addr+"/api/publish", "application/json", body, "X-API-Key", centrifugoAPIKey)
	if err == nil && !bytes.Contains(answer, []byte(`"result"`)) { // errors are answered with 200 too
		err = fmt.Errorf("publish: %s", answer)
	}
	return err
}

func (*centrifugo) numbers() bool { return false }

func (c *centrifugo) rest() { c.client.rest() }

// installed finds a program on PATH.
func installed(name, source string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not on PATH; install %s", name, source)
	}
	return path, nil
}
