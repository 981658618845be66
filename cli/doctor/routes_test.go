package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestRoutesThatWait: work that waits for a while where no processor is, is found at once, and not
// only when the gateway is sure that nobody comes; what is parked, new, or has processors is none.
func TestRoutesThatWait(t *testing.T) {
	const now = "2026-01-02T03:04:35Z"
	at, _ := time.Parse(time.RFC3339, now)
	ago := func(d time.Duration) string { return `"` + at.Add(-d).Format("2006-01-02T15:04:05.000Z") + `"` }
	for _, c := range []struct {
		name, route string
		status      int
		found       string
	}{
		{"gone", `"pending":20,"parked":0,"processing":1,"oldestPending":` + ago(30*time.Second) + `,"processors":0`, 200, "20 requests on sleep wait, and no processor is there"},
		{"some are parked", `"pending":20,"parked":5,"oldestPending":` + ago(30*time.Second) + `,"processors":0`, 200, "15 requests on sleep wait"},
		{"there", `"pending":20,"parked":0,"oldestPending":` + ago(time.Hour) + `,"processors":1`, 200, ""},
		{"parked", `"pending":20,"parked":20,"oldestPending":` + ago(time.Hour) + `,"processors":0`, 200, ""},
		{"new", `"pending":20,"parked":0,"oldestPending":` + ago(2*time.Second) + `,"processors":0`, 200, ""},
		{"nothing waits", `"pending":0,"parked":0,"oldestPending":null,"processors":0`, 200, ""},
		{"no admin", `"pending":20,"parked":0,"oldestPending":` + ago(30*time.Second) + `,"processors":0`, 403, ""},
		{"told already", `"pending":20,"parked":0,"oldestPending":` + ago(30*time.Second) + `,"processors":0`, 200, "nobody works on the route sleep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/routes" {
					w.Header().Set("Date", at.Format(http.TimeFormat))
					w.WriteHeader(c.status)
					_, _ = fmt.Fprintf(w, `{"routes":[{"route":"sleep",%s}]}`, c.route)
					return
				}
				unserved := ""
				if strings.HasPrefix(c.found, "nobody") {
					unserved = `,"routesWithoutProcessor":["sleep"]`
				}
				_, _ = fmt.Fprintf(w, `{"status":"ready"%s}`, unserved)
			}))
			t.Cleanup(s.Close)
			var d doctor
			side, err := d.side(s.URL)
			if err != nil || !d.ready(t.Context(), side, true) {
				t.Fatal("the gateway does not run", err)
			}
			var found []string
			for _, f := range d.found {
				found = append(found, f.Wrong)
			}
			if c.found == "" && len(found) > 0 || c.found != "" && (len(found) != 1 || !strings.HasPrefix(found[0], c.found)) {
				t.Errorf("found %q, want %q", found, c.found)
			}
			if (c.status == 403) != (len(d.notes) > 0) {
				t.Errorf("notes: %q", d.notes)
			}
		})
	}
}
