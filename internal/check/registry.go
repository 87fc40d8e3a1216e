package check

import (
	"context"
	"log/slog"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
)

// Subject is a subject of the registry and the schema that the program writes under it.
type Subject struct {
	Name, Schema string
}

// Subjects returns the subjects of the named tables as the configuration wants them.
func Subjects(c *config.Config, tables []string) ([]Subject, error) {
	var out []Subject
	for _, t := range pipeline.Tables(c) {
		for _, name := range tables {
			if name != t.Name {
				continue
			}
			topic := string(c.Kafka.TopicPrefix) + "." + t.Name
			codec, err := avro.NewCodec(t, topic, pipeline.Format(c.Events), pipeline.KeyFormat(c.Events))
			if err != nil {
				return nil, err
			}
			if key := codec.KeySchema(); key != "" {
				out = append(out, Subject{topic + "-key", key})
			}
			out = append(out, Subject{topic + "-value", codec.ValueSchema()})
		}
	}
	return out, nil
}

func checkRegistry(ctx context.Context, r *report, c *config.Config, log *slog.Logger) {
	const registry = "schemas"
	client, err := pipeline.Registry(c, log)
	if err != nil {
		r.add(Failed, registry, err.Error(), "")
		return
	}
	subjects, err := Subjects(c, c.Lever.Tables)
	if err != nil {
		r.add(Failed, registry, err.Error(), "")
		return
	}
	counts := map[avro.Standing]int{}
	for _, s := range subjects {
		standing, reasons, err := client.Stand(ctx, s.Name, s.Schema)
		if err != nil {
			r.add(Failed, registry, err.Error(), "check SCHEMA_REGISTRY_URL, its credentials and SCHEMA_REGISTRY_CA_FILE")
			return
		}
		counts[standing]++
		switch {
		case standing == avro.Incompatible:
			r.add(Failed, "subject "+s.Name, "holds a schema with which this program's is not compatible: "+reasons, "use another KAFKA_TOPIC_PREFIX, or delete the subject if nothing reads it")
		case standing != avro.Registered && !c.Registry.Register:
			r.add(Failed, "subject "+s.Name, "does not have this program's schema, and SCHEMA_REGISTRY_REGISTER=false", "producer schemas register, as a user who may")
		}
	}
	if n := counts[avro.Incompatible]; n == 0 {
		r.okf(registry, "%d subjects: %d registered, %d to be registered, %d of those beside older versions", len(subjects),
			counts[avro.Registered], counts[avro.Missing]+counts[avro.Compatible], counts[avro.Compatible])
	}
}
