package blackbox_test

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hark-push/hark/docs"
	"github.com/hark-push/hark/servertest"
)

// TestMetrics: what a gateway tells is what was done, by names that promtool has nothing to say
// about and that the documents list, and nothing in it grows with owners, ids or paths.
func TestMetrics(t *testing.T) {
	args := []string{"--routes=default,sleep,other", "--max-waiting-per-route=2"}
	if onRabbitMQ() {
		args = append(args, "--callback-exchange=hark.events")
	}
	s := startHooks(t, args...)
	r := newReceiver(t, nil)
	h := s.hook(r.url, map[string]any{"events": []string{"request.succeeded"}})
	live := s.stream("/v1/events")
	if e, err := live.block(); err != nil || e.name != "start" {
		t.Fatal(e, err)
	}

	s.call("POST", "/v1/requests", `{"id":"done","route":"sleep","content":{"steps":1,"duration":0}}`, "Prefer: wait=20").want(200)
	s.call("POST", "/v1/requests", `{"id":"done","route":"sleep","content":{"steps":1,"duration":0}}`).want(200)
	s.call("POST", "/v1/requests", `{"route":"sleep","content":{"steps":1,"duration":0,"fail":true}}`, "Prefer: wait=20").want(500)
	work := s.submit("default", "leased")
	leased := s.leaseOne("")
	s.call("PUT", leased.path("result"), `"x"`).want(200)
	s.call("PUT", leased.path("result"), `"x"`).want(200) // its answer might have been lost
	canceled := s.submit("other", 1)
	s.call("POST", "/v1/requests/"+canceled+"/cancel", nil).want(200)
	s.submit("other", 1)
	s.submit("other", 1)
	s.call("POST", "/v1/requests", `{"route":"other","content":1}`, async).problem(503, "route-full")
	s.call("GET", "/v1/requests/"+work, nil).want(200)
	s.call("GET", "/v1/requests/who-is-it", nil).problem(404, "request-not-found")
	s.call("GET", "/here-is-none", nil).problem(404, "not-found")
	h.settled()

	var text string
	for series, want := range map[string]string{
		`hark_requests_accepted_total{route="sleep"}`:                                             "2",
		`hark_requests_accepted_total{route="default"}`:                                           "1",
		`hark_requests_accepted_total{route="other"}`:                                             "3",
		`hark_requests_accepted_total{route="(other)"}`:                                           "0",
		`hark_requests_ended_total{outcome="succeeded",route="sleep"}`:                            "1",
		`hark_requests_ended_total{outcome="failed",route="sleep"}`:                               "1",
		`hark_requests_ended_total{outcome="succeeded",route="default"}`:                          "1",
		`hark_requests_ended_total{outcome="canceled",route="other"}`:                             "1",
		`hark_requests_ended_total{outcome="expired",route="other"}`:                              "0",
		`hark_request_duration_seconds_count{route="sleep"}`:                                      "2",
		`hark_request_wait_seconds_count{route="default"}`:                                        "1",
		`hark_request_wait_seconds_count{route="other"}`:                                          "0",
		`hark_attempts_total{outcome="succeeded",route="sleep"}`:                                  "1",
		`hark_attempts_limit{route="sleep"}`:                                                      "8",
		`hark_http_requests_total{class="2xx",method="PUT",route="/v1/work/:id/result"}`:          "2",
		`hark_http_requests_total{class="2xx",method="GET",route="/v1/requests/:id"}`:             "1",
		`hark_http_requests_total{class="4xx",method="GET",route="/v1/requests/:id"}`:             "1",
		`hark_http_requests_total{class="5xx",method="POST",route="/v1/requests"}`:                "2",
		`hark_http_requests_total{class="4xx",method="",route="(other)"}`:                         "1",
		`hark_http_request_duration_seconds_count{method="POST",route="/v1/requests/:id/cancel"}`: "1",
		`hark_http_problems_total{problem="route-full"}`:                                          "1",
		`hark_http_problems_total{problem="request-failed"}`:                                      "1",
		`hark_http_problems_total{problem="internal"}`:                                            "0",
		`hark_limit_hits_total{limit="waiting-requests-per-route"}`:                               "1",
		`hark_limit_hits_total{limit="connections-per-address"}`:                                  "0",
		`hark_store_operation_failures_total{operation="create"}`:                                 "0",
		`hark_queue_publish_failures_total`:                                                       "0",
		`hark_webhook_attempt_seconds_count`:                                                      "2",
		`hark_route_unserved{route="sleep"}`:                                                      "0",
		`hark_http_requests_by_role_total{role="client"}`:                                         "0",
		`hark_leases_total`: "1",
	} {
		line := "\n" + series + " " + want + "\n"
		s.eventually(func() bool { // an attempt is counted after its end is told
			text = string(s.call("GET", "/metrics", nil).want(200).body)
			return strings.Contains(text, line)
		})
	}
	for _, most := range []string{ // that so many were measured at least
		`hark_event_lag_seconds_count`, `hark_store_operation_seconds_count{operation="create"}`, `hark_store_operation_seconds_count{operation="begin"}`,
		`hark_store_operation_seconds_count{operation="apply"}`, `hark_store_operation_seconds_count{operation="sweep"}`, `hark_store_operation_seconds_count{operation="history"}`,
		`hark_queue_publish_seconds_count`, `hark_http_requests_by_role_total{role="anybody"}`,
	} {
		if s.metric(regexp.QuoteMeta(most)) < 1 {
			t.Errorf("%s is nothing", most)
		}
	}
	for _, secret := range []string{work, canceled, "who-is-it", "here-is-none", "anonymous", "127.0.0.1"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is told", secret)
		}
	}
	t.Run("promtool", func(t *testing.T) {
		if said, ok := servertest.Promtool(t, []byte(text), "check", "metrics"); !ok || said != "" {
			t.Errorf("%s", said)
		}
	})
	t.Run("the documents", func(t *testing.T) {
		rows := docs.AllSeries(t)
		told := docs.SeriesOf(text)
		for _, name := range told {
			if row, ok := rows[name]; !ok || row.By == "worker" {
				t.Errorf("docs/metrics.md does not list %s as told by gateways", name)
			}
		}
		for name, row := range rows {
			switch {
			case slices.Contains(told, name) || row.By == "worker":
			case !onRabbitMQ() && (strings.Contains(row.By, "RabbitMQ") || strings.Contains(row.By, "--callback-exchange")):
			case !onServers() && strings.Contains(row.By, "on Redis"), !onRedis() && strings.Contains(row.By, "Redis alone"):
			case name == "hark_webhook_failed_attempts_total": // none has
			default:
				t.Errorf("docs/metrics.md lists %s, which is not told", name)
			}
		}
		for name, row := range rows {
			label := regexp.MustCompile(`(?m)^` + name + `(?:_bucket)?(?:\{(.*)\})? `).FindStringSubmatch(text)
			if label == nil {
				continue
			}
			var labels []string
			for _, m := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(label[1], -1) {
				if m[1] != "le" {
					labels = append(labels, m[1])
				}
			}
			slices.Sort(labels)
			slices.Sort(row.Labels)
			if !slices.Equal(labels, row.Labels) {
				t.Errorf("%s has the labels %v, docs/metrics.md says %v", name, labels, row.Labels)
			}
		}
	})
	t.Run("what reads it", func(t *testing.T) {
		rows := docs.AllSeries(t)
		var dashboard any
		if err := json.Unmarshal([]byte(docs.Read(t, "deploy/grafana/hark.json")), &dashboard); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"deploy/grafana/hark.json", "deploy/prometheus/alerts.yml"} {
			names := regexp.MustCompile(`\b(?:hark|process|go)_[a-z_]+`).FindAllString(docs.Read(t, path), -1)
			if len(names) < 20 {
				t.Errorf("%s reads %v only", path, names)
			}
			for _, name := range names {
				_, documented := rows[familyOf(name)]
				if !documented && !strings.Contains(text, "\n"+name+" ") {
					t.Errorf("%s reads %s, which nobody tells", path, name)
				}
			}
		}
	})
}

// onServers reports whether the gateways of the tests use Redis and RabbitMQ.
// familyOf returns the name of what a series belongs to.
func familyOf(name string) string {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if family, ok := strings.CutSuffix(name, suffix); ok {
			return family
		}
	}
	return name
}

// TestMetricsByRole: calls are counted by the strongest role of who made them.
func TestMetricsByRole(t *testing.T) {
	s, _ := startKeyed(t, "--routes=default")
	s.as(aliceKey).call("GET", "/v1/requests", nil).want(200)
	s.as(adminKey).call("GET", "/v1/dead", nil).want(200)
	s.as(workerKey).call("GET", "/v1/health", nil).want(200)
	s.call("GET", "/v1/requests", nil).want(401)
	for _, role := range []string{"client", "admin", "processor"} {
		if n := s.metric(regexp.QuoteMeta(`hark_http_requests_by_role_total{role="` + role + `"}`)); n != 1 {
			t.Errorf("%s: %d", role, n)
		}
	}
	if n := s.metric(regexp.QuoteMeta(`hark_http_requests_by_role_total{role="none"}`)); n < 1 {
		t.Errorf("none: %d", n)
	}
}

// TestNativeHistograms: who asks for protocol buffers gets them from a gateway.
func TestNativeHistograms(t *testing.T) {
	s := start(t, "--routes=default")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/vnd.google.protobuf") || !strings.Contains(string(body), "hark_store_operation_seconds") {
		t.Errorf("%v %v, %d bytes", err, answer.Header, len(body))
	}
}
