package api

import (
	"net/http"
	"strconv"

	"github.com/hark-push/hark/gateway/api/problem"
)

// startingAgain is after how many seconds a call may be repeated that came too early.
const startingAgain = 5

// Starting answers for a gateway that is about to start: that the process is alive, and to all
// other calls why it serves nothing yet.
func Starting(detail func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		if r.URL.Path == "/health/live" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			header.Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"status":"ok"}`))
			return
		}
		p := problem.Details{Kind: problem.Unavailable, Detail: detail()}
		header.Set("Retry-After", strconv.Itoa(startingAgain))
		header.Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Kind.Status)
		_, _ = w.Write(p.JSON(r.URL.Path))
	})
}
