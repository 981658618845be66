package peer

import (
	"strconv"
	"strings"
)

// Metrics reads the metrics of a gateway, by their names with labels.
func (h *Hark) Metrics(addr string) (map[string]float64, error) {
	text, err := h.client.Get("http://" + addr + "/metrics")
	if err != nil {
		return nil, err
	}
	return parseMetrics(string(text)), nil
}

// parseMetrics reads the text format of Prometheus. What is not a number is left out.
func parseMetrics(text string) map[string]float64 {
	metrics := make(map[string]float64)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		space := strings.LastIndexByte(line, ' ')
		if space < 0 || line[0] == '#' {
			continue
		}
		if value, err := strconv.ParseFloat(line[space+1:], 64); err == nil {
			metrics[line[:space]] = value
		}
	}
	return metrics
}
