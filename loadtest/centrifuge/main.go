// Command centrifuge stands in for Centrifugo where that is not installed: it serves as much of its
// public wire as a load test speaks, on the library that Centrifugo is built upon, and reads its
// configuration.
//
//	centrifuge --config FILE
//
// Served are /connection/uni_sse, /connection/websocket and /api/publish. The library has its
// defaults, as in Centrifugo.
//
// It is a module of its own, so that the comparison adds nothing to what Hark requires.
package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/centrifugal/centrifuge"
)

// config is the part of Centrifugo's configuration (version 6) that is understood. What is
// not makes it fail, so that a setting cannot be missing unnoticed.
type config struct {
	HTTPServer struct {
		Address string `json:"address"`
		Port    int    `json:"port"`
	} `json:"http_server"`
	Log struct {
		Level string `json:"level"` // always none
	} `json:"log"`
	Client struct {
		Token struct {
			HMACSecretKey string `json:"hmac_secret_key"`
		} `json:"token"`
	} `json:"client"`
	HTTPAPI struct {
		Key string `json:"key"`
	} `json:"http_api"`
	UniSSE struct {
		Enabled bool `json:"enabled"` // always
	} `json:"uni_sse"`
	Engine struct {
		Type  string `json:"type"`
		Redis struct {
			Address string `json:"address"`
		} `json:"redis"`
	} `json:"engine"`
	Channel struct {
		WithoutNamespace struct {
			HistorySize   int      `json:"history_size"`
			HistoryTTL    duration `json:"history_ttl"`
			ForceRecovery bool     `json:"force_recovery"`
		} `json:"without_namespace"`
	} `json:"channel"`
	UsageStats struct {
		Disabled bool `json:"disabled"` // always
	} `json:"usage_stats"`
}

type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

func main() {
	file := flag.String("config", "config.json", "configuration of Centrifugo")
	flag.Parse()
	if err := run(*file); err != nil {
		fmt.Fprintln(os.Stderr, "centrifuge:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	file, err := os.Open(path) //nolint:gosec // named by the operator
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	var c config
	d := json.NewDecoder(file)
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	node, err := newNode(&c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.Handle("/connection/uni_sse", &streams{node})
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{}))
	mux.Handle("POST /api/publish", &publisher{node, &c})
	server := &http.Server{Addr: net.JoinHostPort(c.HTTPServer.Address, strconv.Itoa(c.HTTPServer.Port)), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(node.Shutdown(ending), server.Close())
}

// newNode starts a node that subscribes connections to the channels in their token.
func newNode(c *config) (*centrifuge.Node, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
	}
	if c.Engine.Type == "redis" {
		shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: c.Engine.Redis.Address})
		if err != nil {
			return nil, err
		}
		broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Prefix: "centrifugo", Shards: []*centrifuge.RedisShard{shard}})
		if err != nil {
			return nil, err
		}
		node.SetBroker(broker)
	}
	node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		user, channels, err := verify(e.Token, c.Client.Token.HMACSecretKey)
		if err != nil {
			return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
		}
		subscriptions := make(map[string]centrifuge.SubscribeOptions, len(channels))
		for _, channel := range channels {
			subscriptions[channel] = centrifuge.SubscribeOptions{EnableRecovery: c.Channel.WithoutNamespace.ForceRecovery}
		}
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: user}, Subscriptions: subscriptions}, nil
	})
	return node, node.Run()
}

// publisher is the HTTP API.
type publisher struct {
	node *centrifuge.Node
	c    *config
}

func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-API-Key")), []byte(p.c.HTTPAPI.Key)) != 1 {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var q struct {
		Channel string          `json:"channel"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	history := p.c.Channel.WithoutNamespace
	done, err := p.node.Publish(q.Channel, q.Data, centrifuge.WithHistory(history.HistorySize, time.Duration(history.HistoryTTL)))
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		_, _ = fmt.Fprintf(w, `{"error":{"code":100,"message":%q}}`, err)
		return
	}
	_, _ = fmt.Fprintf(w, `{"result":{"offset":%d,"epoch":%q}}`, done.Offset, done.Epoch)
}
