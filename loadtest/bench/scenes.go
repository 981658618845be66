package bench

import "strings"

// column is a figure that a table shows.
type column struct {
	head, unit string
	figure     string // its name; one that ends with * is the sum of all that begin so
	ratio      bool   // whether it is worth dividing by Hark's
}

func (c column) of(r *Run) (float64, bool) {
	prefix, all := strings.CutSuffix(c.figure, "*")
	if !all {
		return r.Figure(c.figure)
	}
	sum, some := 0.0, false
	for _, f := range r.Figures {
		if strings.HasPrefix(f.Name, prefix) {
			sum, some = sum+f.Value, true
		}
	}
	return sum, some
}

// Names of figures that more than one place asks for.
const (
	perConnection  = "memory per connection"
	perDelivery    = "server CPU per delivery"
	perSecond      = "delivered per second"
	bytesDelivered = "bytes per delivery"
	latencyP99     = "latency p99"
	completed      = "completed per second"
	movesBy        = "p99 moves by"
	floor          = "floor"
)

// BytesPerDelivery is the figure that says how long a message is on the wire.
const BytesPerDelivery = bytesDelivered

// scenes says how each scene is shown, in this order.
var scenes = []struct {
	name, title string
	apart       bool     // whether servers on Redis have a table of their own
	settings    []string // that say how much it was
	columns     []column
}{
	{"idle", "Connections that wait", true, []string{"connections"}, []column{
		{"memory of each", "KB", perConnection, true},
	}},
	{"broadcast", "One channel with many followers", true, []string{"followers", "rate", "duration"}, []column{
		{"CPU per delivery", "µs", perDelivery, true},
		{"p50", "ms", "latency p50", false},
		{"p99", "ms", latencyP99, true},
		{"p99.9", "ms", "latency p99.9", false},
		{"on the wire", "B", bytesDelivered, false},
	}},
	{"unicast", "Many channels with a follower each", true, []string{"channels", "publishers", "duration"}, []column{
		{"throughput", "/s", perSecond, true},
		{"CPU per delivery", "µs", perDelivery, true},
		{"p50", "ms", "latency p50", false},
		{"p99", "ms", latencyP99, true},
		{"on the wire", "B", bytesDelivered, false},
	}},
	{"lifecycle", "From POST to the pushed result", false, []string{"producers", "duration"}, []column{
		{"throughput", "/s", completed, true},
		{"CPU for each", "µs", "CPU per completed, *", true},
		{"p50", "ms", "POST to pushed success p50", false},
		{"p99", "ms", "POST to pushed success p99", true},
	}},
	{"slow", "What followers that read slowly cost the others", true, []string{"followers", "share", "pace", "rate", "rounds", "duration"}, []column{
		{"p99 without them", "ms", "latency p99 without them", true},
		{"p99 with them", "ms", "latency p99 with them", true},
		{"moves by", "%", movesBy, false},
	}},
	{"storm", "A restart under many streams", true, []string{"connections", "retry"}, []column{
		{"streams", "", "streams", false},
		{"back without loss", "", "came back without loss", false},
		{"restart", "s", "restart of the gateway", false},
		{"first cut to last back", "s", "from the first cut to the last back", false},
		{"store reads per stream", "", "store reads per stream", false},
	}},
}

// growthSeries are the curves of the scene growth, for one channel and for many.
var growthSeries = []struct{ name, head string }{
	{"CPU per delivery", "CPU per delivery"},
	{"CPU per delivery without publishing", "without publishing"},
	{"median deviation of that", "± of that"},
	{"CPU per publication that nobody follows", "CPU per publication"},
}

// growthKinds are what grows.
var growthKinds = []string{"one channel", "many channels"}

// HasTable says whether a scene is shown in tables, server by server.
func HasTable(scene string) bool {
	for _, s := range scenes {
		if s.name == scene {
			return true
		}
	}
	return scene == "growth"
}
