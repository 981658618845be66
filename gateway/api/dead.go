package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
)

// Of one call for many requests.
const (
	deadDefault = 1000  // requests
	deadMost    = 10000 // requests
	// How long it may take; what is not done by then is left to the next call.
	deadTime = 20 * time.Second
)

// deadRoute returns the route that the path names: one of this gateway, or of which requests have
// failed, because there was one of that name.
func (a *API) deadRoute(c *fiber.Ctx) (string, error) {
	route := param(c, "route")
	if a.routes[route] {
		return route, nil
	}
	if lifecycle.ValidRoute(route) {
		page, err := a.Service.DeadRequests(a.storeContext(), lifecycle.DeadQuery{Route: route, Limit: 1})
		if err != nil || len(page.Requests) > 0 || page.Next != "" {
			return route, err
		}
	}
	return "", a.noRoute(route)
}

// ownRoute is deadRoute for what needs a queue.
func (a *API) ownRoute(c *fiber.Ctx) (string, error) {
	route := param(c, "route")
	if !a.routes[route] {
		return "", a.noRoute(route)
	}
	return route, nil
}

func (a *API) noRoute(route string) error {
	return &problem.Details{Kind: problem.NotFound, Detail: "The path names a route: " + quoted(route) + " " + field.UnknownRoute(route, a.routes) + "."}
}

type deadRouteDocument struct {
	Route    string `json:"route"`
	Requests int64  `json:"requests"`
	Oldest   stamp  `json:"oldest"`
	Newest   stamp  `json:"newest"`
	Messages *int   `json:"messages"`
	Links    []link `json:"links"`
}

// listDeadRoutes answers GET /v1/dead.
func (a *API) listDeadRoutes(c *fiber.Ctx, _ auth.Caller) error {
	limit, err := limitOf(c)
	if err != nil {
		return err
	}
	after, err := afterRoute(query(c, "cursor"))
	if err != nil {
		return err
	}
	ctx := a.storeContext()
	found, err := a.Service.DeadRoutes(ctx, after, limit+1)
	if err != nil {
		return err
	}
	messages, err := a.countMessages(ctx)
	if err != nil {
		return err
	}
	page := struct {
		Routes []deadRouteDocument `json:"routes"`
		Next   *string             `json:"next"`
	}{Routes: []deadRouteDocument{}}
	for _, r := range a.withMessages(found, messages, after) {
		if len(page.Routes) == limit {
			page.Next = new(routeCursor(page.Routes[limit-1].Route))
			break
		}
		at := "/v1/dead/" + r.Route
		document := deadRouteDocument{
			Route: r.Route, Requests: r.Requests, Oldest: stamp{r.Oldest}, Newest: stamp{r.Newest},
			Links: []link{{"requests", at, "GET"}, {"redrive", at + "/redrive", "POST"}, {"messages", at + "/messages", "GET"}},
		}
		if n, ok := messages[r.Route]; ok {
			document.Messages = &n
		}
		page.Routes = append(page.Routes, document)
	}
	return send(c, fiber.StatusOK, page)
}

// routeCursor returns the cursor behind a route: its name, and a sum that tells it from what no
// page had.
func routeCursor(route string) string {
	raw := binary.BigEndian.AppendUint32([]byte(route), crc32.ChecksumIEEE([]byte(route)))
	return base64.RawURLEncoding.EncodeToString(raw)
}

// afterRoute reads what routeCursor made; "" for "".
func afterRoute(cursor string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < 5 || routeCursor(string(raw[:len(raw)-4])) != cursor {
		return "", lifecycle.ErrCursor
	}
	return string(raw[:len(raw)-4]), nil
}

// withMessages returns the routes that were found, and those on which there are only messages, in
// their order. There may be more than the first that were found.
func (a *API) withMessages(found []lifecycle.DeadRoute, messages map[string]int, after string) []lifecycle.DeadRoute {
	has := func(route string) bool {
		return slices.ContainsFunc(found, func(r lifecycle.DeadRoute) bool { return r.Route == route })
	}
	for route, n := range messages {
		if n > 0 && route > after && !has(route) {
			found = append(found, lifecycle.DeadRoute{Route: route})
		}
	}
	slices.SortFunc(found, func(x, y lifecycle.DeadRoute) int { return strings.Compare(x.Route, y.Route) })
	return found
}

// listDead answers GET /v1/dead/{route}.
func (a *API) listDead(c *fiber.Ctx, caller auth.Caller) error {
	limit, err := limitOf(c)
	if err != nil {
		return err
	}
	route, err := a.deadRoute(c)
	if err != nil {
		return err
	}
	q := lifecycle.DeadQuery{Route: route, Cursor: query(c, "cursor"), Limit: limit}
	if q.Before, err = before(c); err != nil {
		return err
	}
	page, err := a.Service.DeadRequests(a.storeContext(), q)
	if err != nil {
		return err
	}
	body := []byte(`{"requests":[`)
	for i := range page.Requests {
		if i > 0 {
			body = append(body, ',')
		}
		if body, err = appendDead(body, &page.Requests[i], caller); err != nil {
			return err
		}
	}
	body = append(body, `],"next":`...)
	if page.Next == "" {
		body = append(body, "null}"...)
	} else {
		body = append(append(append(body, '"'), page.Next...), `"}`...)
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	return httpbody.SendJSON(c, fiber.StatusOK, body)
}

// appendDead appends a request that has failed, with what its own document does not say.
func appendDead(dst []byte, r *lifecycle.Request, caller auth.Caller) ([]byte, error) {
	owner, err := json.Marshal(r.Owner)
	if err != nil {
		return nil, err
	}
	dst = append(append(dst, `{"owner":`...), owner...)
	dst = append(dst, `,"failures":`...)
	dst = strconv.AppendInt(dst, int64(r.Failures), 10)
	dst = append(append(dst, `,"request":`...), wire.AppendDocument(nil, r, view(caller))...)
	base := "/v1/requests/" + r.ID
	links, err := json.Marshal([]link{{"history", base + "/history", "GET"}, {"redrive", base + "/redrive", "POST"}, {"delete", base, "DELETE"}})
	if err != nil {
		return nil, err
	}
	return append(append(append(dst, `,"links":`...), links...), '}'), nil
}

// before reads the time before which requests ended; zero if none is given.
func before(c *fiber.Ctx) (time.Time, error) {
	var errs []problem.FieldError
	at := timeOption(c, "before", &errs)
	if len(errs) > 0 {
		return time.Time{}, problem.InvalidFields(errs...)
	}
	return at, nil
}

// timeOption reads an option that is a time; zero if it is not given.
func timeOption(c *fiber.Ctx, name string, errs *[]problem.FieldError) time.Time {
	text := query(c, name)
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		*errs = append(*errs, problem.At("?"+name, "must be a time like 2026-01-01T00:00:00Z (RFC 3339)"))
	}
	return at
}

// deadQuery reads which requests of a route are to be dealt with: of those that have ended by now,
// if nothing else is said, so that what fails meanwhile is not among them.
func (a *API) deadQuery(c *fiber.Ctx, route string) (q lifecycle.DeadQuery, err error) {
	q = lifecycle.DeadQuery{Route: route, Limit: deadDefault}
	if q.Before, err = before(c); err != nil {
		return q, err
	}
	if q.Before.IsZero() {
		// A node knows the time of the store a little late.
		q.Before = a.Now()
		newest, err := a.Service.DeadRequests(a.storeContext(), lifecycle.DeadQuery{Route: route, Limit: 1})
		if err != nil {
			return q, err
		}
		if len(newest.Requests) > 0 && newest.Requests[0].EndedAt.After(q.Before) {
			q.Before = newest.Requests[0].EndedAt
		}
		// Answered in milliseconds, and taken as it was answered by the next call.
		q.Before = q.Before.Truncate(time.Millisecond).Add(time.Millisecond)
	}
	if text := c.Query("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > deadMost {
			return q, problem.InvalidFields(problem.At("?limit", "must be a whole number from 1 to "+strconv.Itoa(deadMost)))
		}
		q.Limit = n
	}
	return q, nil
}

// redriveDead answers POST /v1/dead/{route}/redrive.
func (a *API) redriveDead(c *fiber.Ctx, caller auth.Caller) error {
	route, err := a.ownRoute(c)
	if err != nil {
		return err
	}
	return a.eachDead(c, caller, route, "redriven", a.Service.RedriveAll)
}

// purgeDead answers DELETE /v1/dead/{route}.
func (a *API) purgeDead(c *fiber.Ctx, caller auth.Caller) error {
	route, err := a.deadRoute(c)
	if err != nil {
		return err
	}
	return a.eachDead(c, caller, route, "purged", a.Service.PurgeAll)
}

// eachDead has many requests dealt with, and answers how many were. If that breaks off it tells of
// what was done, unless that is nothing.
func (a *API) eachDead(c *fiber.Ctx, caller auth.Caller, route, what string, do func(context.Context, lifecycle.DeadQuery) (lifecycle.DeadDone, error)) error {
	q, err := a.deadQuery(c, route)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadTime)
	defer cancel()
	done, err := do(ctx, q)
	if err != nil {
		if done.Done == 0 && ctx.Err() != nil {
			return fmt.Errorf("%w: %w", lifecycle.ErrUnavailable, err)
		}
		if done.Done == 0 {
			return err
		}
		a.log.Warn("not all requests that have failed could be dealt with", slog.String("route", route), slog.Any("error", err))
		done.More = true
	}
	a.log.Info("requests that have failed were "+what, slog.String("route", route), slog.Int("requests", done.Done), slog.String("by", caller.Subject))
	return send(c, fiber.StatusOK, map[string]any{what: done.Done, "more": done.More, "before": stamp{q.Before}})
}

// redrive answers POST /v1/requests/{id}/redrive.
func (a *API) redrive(c *fiber.Ctx, caller auth.Caller) error {
	ctx := a.storeContext()
	r, err := a.Service.Get(ctx, caller.Principal, named(c))
	if err != nil {
		return err
	}
	if r.Status == lifecycle.Failed && r.Batch == nil && !a.routes[r.Route] {
		return &problem.Details{
			Kind: problem.Transition, Detail: "The request is of the route " + r.Route + ", which " + field.UnknownRoute(r.Route, a.routes) + ".",
			Members: map[string]any{"requestStatus": r.Status, "attempt": r.Attempt},
		}
	}
	if r, err = a.Service.Redrive(ctx, r.Ref()); err != nil {
		return err
	}
	a.log.Info("request was redriven", slog.String("request", r.ID), slog.String("by", caller.Subject))
	c.Set(fiber.HeaderLocation, a.address(c, "/v1/requests/"+r.ID))
	c.Set(fiber.HeaderRetryAfter, a.retryAfter(&r))
	return httpbody.SendJSON(c, fiber.StatusAccepted, wire.AppendDocument(nil, &r, view(caller)))
}
