package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/metrics"
	"github.com/hark-push/hark/processor"
)

// health answers, on an address of its own, whether the worker lives, whether it can work, and what
// it counts. It is there before Redis is.
type health struct {
	server   *http.Server
	backends atomic.Pointer[backends.Backends] // nil: they are not there yet
	draining atomic.Bool
	metrics  atomic.Pointer[http.Handler]
	workers  map[string]*processor.Processor // as soon as there are backends
	log      *slog.Logger
}

// serveHealth listens; close ends it.
func serveHealth(address string, log *slog.Logger) (*health, error) {
	listener, err := net.Listen("tcp", address) //nolint:noctx // bound at start, closed at the end
	if err != nil {
		return nil, fmt.Errorf("listen: choose another address with --listen (HARK_WORKER_LISTEN): %w", err)
	}
	h := &health{log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) {
		h.say(w, http.StatusOK, "live", "")
	})
	mux.HandleFunc("GET /health/ready", func(w http.ResponseWriter, r *http.Request) {
		status, word, detail := h.ready(r.Context())
		h.say(w, status, word, detail)
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		status, _, _ := h.ready(r.Context())
		text := "Healthy"
		if status != http.StatusOK {
			text = "Unhealthy"
		}
		h.send(w, status, "text/plain; charset=utf-8", []byte(text))
	})
	mux.HandleFunc("GET /v1/health", func(w http.ResponseWriter, _ *http.Request) {
		b := h.backends.Load()
		if b == nil {
			h.say(w, http.StatusServiceUnavailable, "starting", waits)
			return
		}
		body, err := json.Marshal(b.Pool(h.workers))
		if err != nil {
			h.say(w, http.StatusInternalServerError, "", "")
			return
		}
		h.send(w, http.StatusOK, "application/json", body)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if handler := h.metrics.Load(); handler != nil {
			(*handler).ServeHTTP(w, r)
			return
		}
		h.say(w, http.StatusServiceUnavailable, "starting", waits)
	})
	h.server = &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}
	go func() {
		if err := h.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health is not served any more", slog.Any("error", err))
		}
	}()
	log.Info("health and metrics", slog.String("url", "http://"+listener.Addr().String()+"/health/ready"))
	return h, nil
}

const waits = "The worker waits for Redis (--redis, HARK_REDIS), which cannot be reached. Its log says more."

// ready answers whether work can be taken and reported: not before Redis is there, nor while the
// worker drains, nor while one of the servers is away. That it has no work is no reason.
func (h *health) ready(ctx context.Context) (status int, word, detail string) {
	b := h.backends.Load()
	switch {
	case h.draining.Load():
		return http.StatusServiceUnavailable, "draining", "The worker is shutting down."
	case b == nil:
		return http.StatusServiceUnavailable, "starting", waits
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := b.Ready(ctx)
	if err == nil {
		return http.StatusOK, "ready", ""
	}
	h.log.Warn("not ready", slog.Any("error", err))
	detail = "A server that the worker needs does not answer."
	if e, ok := errors.AsType[*backends.NotReadyError](err); ok {
		detail = e.Detail
	}
	return http.StatusServiceUnavailable, "not ready", detail
}

func (h *health) say(w http.ResponseWriter, status int, word, detail string) {
	body, _ := json.Marshal(struct {
		Status string `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{word, detail})
	h.send(w, status, "application/json", body)
}

func (h *health) send(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// show has figures told from now on.
func (h *health) show(b *backends.Backends, workers map[string]*processor.Processor, registry *prometheus.Registry) {
	handler := metrics.Handler(registry)
	h.metrics.Store(&handler)
	h.workers = workers
	h.backends.Store(b)
}
