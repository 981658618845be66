package blackbox_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// listed reads a list of requests, page by page, each as its owner, if that is said, and its id.
func (s *server) listed(query string, limit int) (all []string) {
	s.t.Helper()
	for cursor := ""; ; {
		page := s.call("GET", fmt.Sprintf("/v1/requests?limit=%d&%s%s", limit, query, cursor), nil).want(200).json()
		for _, r := range page["requests"].([]any) {
			r := r.(map[string]any)
			owner, _ := r["owner"].(string)
			all = append(all, strings.TrimSpace(owner+" "+r["id"].(string)))
		}
		next, _ := page["next"].(string)
		if next == "" {
			return all
		}
		cursor = "&cursor=" + next
	}
}

// TestEverybodys: an admin lists everybody's requests and webhooks, and reads and follows anybody's
// feed; nobody else learns more than that it is not for them.
func TestEverybodys(t *testing.T) {
	s, _ := startKeyed(t, "--samples=false", "--routes=default,other", "--webhook-allow-http", "--webhook-allow-cidrs=127.0.0.0/8")
	alice, bob, worker, admin, nobody := s.as(aliceKey), s.as(bobKey), s.as(workerKey), s.as(adminKey), s
	submit := func(of *server, id, route, topic string) {
		t.Helper()
		options := []string{"id=" + id}
		if topic != "" {
			options = append(options, "topic="+topic)
		}
		of.submit(route, 1, options...)
	}
	submit(alice, "a1", "default", "cats")
	submit(bob, "b1", "default", "cats")
	submit(alice, "a2", "other", "dogs")
	submit(bob, "b2", "other", "dogs")
	between := alice.call("GET", "/v1/requests/a2", nil).want(200).json()["createdAt"].(string)
	submit(admin, "r1", "default", "dogs")
	worker.call("POST", "/v1/work/b1/start", nil).want(200)
	bob.call("POST", "/v1/requests/b2/cancel", nil).want(200)

	for query, want := range map[string]string{
		"owner=*":                                       "root r1, bob b2, alice a2, bob b1, alice a1",
		"owner=alice":                                   "alice a2, alice a1",
		"owner=carol":                                   "",
		"owner=*&route=other":                           "bob b2, alice a2",
		"owner=*&topic=cats":                            "bob b1, alice a1",
		"owner=*&status=pending":                        "root r1, alice a2, alice a1",
		"owner=*&status=processing":                     "bob b1",
		"owner=*&status=canceled":                       "bob b2",
		"owner=*&status=waiting":                        "",
		"owner=*&status=failed&route=other":             "",
		"owner=*&since=" + between:                      "root r1, bob b2, alice a2",
		"owner=*&until=" + between:                      "bob b1, alice a1",
		"owner=bob&until=" + between:                    "bob b1",
		"owner=alice&since=" + between:                  "alice a2",
		"owner=*&route=default&since=" + between:        "root r1",
		"owner=*&topic=dogs&status=pending&route=other": "alice a2",
		"owner=bob&topic=dogs&status=canceled&since=" + between + "&until=2100-01-01T00:00:00%2B01:00": "bob b2",
		"": "r1", // one's own, as ever
	} {
		for _, limit := range []int{1, 2, 50} {
			if got := strings.Join(admin.listed(query, limit), ", "); got != want {
				t.Errorf("%s in pages of %d: %s, want %s", query, limit, got, want)
			}
		}
	}
	if got := strings.Join(alice.listed("status=pending&since="+between, 50), ", "); got != "a2" {
		t.Errorf("alice's since: %s", got)
	}

	// Feeds and webhooks.
	hook := map[string]any{"url": "http://127.0.0.1:9/", "events": []string{"request.succeeded"}}
	alice.call("POST", "/v1/webhooks", hook).want(201)
	bob.call("POST", "/v1/webhooks", hook).want(201)
	hooks := func(owner string) (all []string) {
		for _, w := range admin.call("GET", "/v1/webhooks?owner="+owner, nil).want(200).json()["webhooks"].([]any) {
			all = append(all, w.(map[string]any)["owner"].(string))
		}
		return all
	}
	if got := hooks("*"); !slices.Equal(got, []string{"bob", "alice"}) {
		t.Errorf("webhooks of all: %v", got)
	}
	if got := hooks("alice"); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("webhooks of alice: %v", got)
	}
	if events := admin.call("GET", "/v1/history?owner=bob", nil).want(200).json()["events"].([]any); len(events) != 4 {
		t.Errorf("bob's feed has %d events, want two accepted, one started, one canceled", len(events))
	}
	st := admin.stream("/v1/events?owner=bob")
	submit(alice, "a3", "default", "")
	submit(bob, "b3", "default", "")
	if e := st.next(); !strings.Contains(e.data, `"/v1/requests/b3"`) {
		t.Errorf("bob's feed begins with %s", e.data)
	}

	// Who may.
	for _, path := range []string{"/v1/requests", "/v1/events", "/v1/history", "/v1/webhooks"} {
		for _, owner := range []string{"*", "bob", "nobody-of-this-name"} {
			at := path + "?owner=" + url.QueryEscape(owner)
			nobody.call("GET", at, nil).problem(401, "unauthenticated")
			worker.call("GET", at, nil).problem(403, "forbidden")
			a := alice.call("GET", at, nil, "Accept: application/json")
			says(t, fmt.Sprint(a.problem(403, "forbidden")["detail"]), "role admin", "leave owner out")
		}
		alice.call("GET", path+"?owner=alice", nil, "Accept: application/json").want(200)
	}
	// What nobody can mean.
	long := strings.Repeat("x", 257)
	for query, want := range map[string]string{
		"/v1/requests?owner=" + long:                                         "?owner must be",
		"/v1/requests?owner=":                                                "?owner is empty",
		"/v1/requests?owner=*&owner=bob":                                     "?owner stands there more than once",
		"/v1/requests?since=yesterday":                                       "?since must be a time",
		"/v1/requests?owner=*&until=2026-01-01":                              "?until must be a time",
		"/v1/requests?since=2026-01-02T00:00:00Z&until=2026-01-02T00:00:00Z": "?until must be later than since",
		"/v1/requests?owner=*&status=lost":                                   "?status must be",
		"/v1/events?owner=*":                                                 "no feed of everybody's",
		"/v1/history?owner=*":                                                "no feed of everybody's",
		"/v1/webhooks?owner=" + long:                                         "?owner must be",
	} {
		problem := admin.call("GET", query, nil, "Accept: application/json").problem(422, "invalid-request")
		var told []string
		for _, e := range problem["errors"].([]any) {
			e := e.(map[string]any)
			told = append(told, fmt.Sprint(e["pointer"], e["parameter"], " ", e["detail"]))
		}
		if text := strings.ReplaceAll(strings.Join(told, "; "), "<nil>", ""); !strings.Contains(text, want) {
			t.Errorf("%.60s: %s, want %s", query, text, want)
		}
	}
}

// TestEverybodysWithoutKeys: where callers have no keys all are one, and see what was stored when
// they had.
func TestEverybodysWithoutKeys(t *testing.T) {
	s := start(t, "--samples=false")
	before := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	s.submit("default", 1, "id=one")
	if got := s.listed("owner=*&since="+before, 50); !slices.Equal(got, []string{"anonymous one"}) {
		t.Errorf("%v", got)
	}
	if got := s.listed("owner=anonymous", 50); !slices.Equal(got, []string{"anonymous one"}) {
		t.Errorf("%v", got)
	}
	if got := s.listed("owner=alice", 50); got != nil {
		t.Errorf("%v", got)
	}
	s.call("GET", "/v1/webhooks?owner=*", nil).want(200)
}
