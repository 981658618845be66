package node

import (
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// debugServer serves the runtime's profiles on an address of their own, which
// should not be reachable from outside.
func debugServer(address string) (*http.Server, net.Addr, error) {
	listener, err := net.Listen("tcp", address) //nolint:noctx // bound at start, closed at the end
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(err) // a listener of our own, that nobody else closes
		}
	}()
	return server, listener.Addr(), nil
}
