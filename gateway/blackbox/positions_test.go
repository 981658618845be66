package blackbox_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestPositions: work is handed out in the order that the positions told of, also where the queue
// does not know all priorities.
func TestPositions(t *testing.T) {
	s := start(t)
	const n = 8
	order, got := make([]string, n), make([]string, n)
	for i := range n {
		s.call("POST", "/v1/requests", map[string]any{"id": fmt.Sprint("p-", i), "content": 1, "priority": []int{0, 5, 9, 1}[i%4]}, async).want(202)
	}
	for i := range n {
		id := fmt.Sprint("p-", i)
		position := int(s.call("GET", "/v1/requests/"+id, nil).want(200).json()["position"].(float64))
		if position < 0 || position >= n || order[position] != "" {
			t.Fatalf("%s is at %d, as %s", id, position, order[position])
		}
		order[position] = id
	}
	for i := range got {
		work := s.call("POST", "/v1/work/lease", `{"routes":["default"],"max":1,"wait":"20s"}`).want(200).json()["work"].([]any)
		if len(work) != 1 {
			t.Fatalf("%d leased", len(work))
		}
		got[i] = work[0].(map[string]any)["id"].(string)
		// Nothing is to be under way when the gateway stops.
		defer s.call("PUT", "/v1/work/"+got[i]+"/result?attempt=1", "1")
	}
	if twoRanks(t) {
		if high := slices.IndexFunc(got, func(id string) bool { return id == "p-0" || id == "p-4" }); high == 0 {
			t.Errorf("what has a priority does not come first: %v", got)
		}
		return // of two ranks the lower gets every third place, which a position does not say
	}
	if !slices.Equal(got, order) {
		t.Errorf("handed out as %v, positions told %v", got, order)
	}
}

// twoRanks reports whether the work is carried by a RabbitMQ that tells two priorities apart and
// mixes them.
func twoRanks(t *testing.T) bool {
	if !onRabbitMQ() {
		return false
	}
	conn, err := amqp.Dial(shared.RabbitMQ(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	version, _ := conn.Properties["version"].(string)
	t.Logf("RabbitMQ %s", version)
	return strings.HasPrefix(version, "4.0.") || strings.HasPrefix(version, "4.1.") || strings.HasPrefix(version, "4.2.")
}
