package topics

import "strconv"

// SamplesOf is the samples topic of a generation; see schemas.Generation.
func SamplesOf(gen int) string {
	if gen == 0 {
		return Samples
	}
	return Samples + "-g" + strconv.Itoa(gen)
}

// WindowConsumerGroupOf is the consumer group that reads the samples of a generation.
func WindowConsumerGroupOf(gen int) string {
	if gen == 0 {
		return WindowConsumerGroup
	}
	return WindowConsumerGroup + "-g" + strconv.Itoa(gen)
}

// WindowTableOf is that group's table.
func WindowTableOf(gen int) string { return WindowConsumerGroupOf(gen) + "-table" }

// OfGeneration returns the topics that a generation has of its own.
func OfGeneration(c Config, gen int, shards int32) []Topic {
	return c.complete([]Topic{
		{Name: SamplesOf(gen), Key: "series group", Value: "schemas.SampleBatch",
			Partitions: shards, Grows: true, Retention: c.Retention.Samples},
		{Name: WindowTableOf(gen), Key: "series group", Value: "windows.Group",
			Partitions: shards, Grows: true, Cleanup: Compact},
	})
}
