// ARX beside Vallum: java ArxBench TABLE HIERARCHIES local|global MODEL RUNS OUT
// MODEL is `none`, `distinct:3`, `entropy:3` or `t:0.2`, of `occupation`; k = 5; loss metric.
// Prints one JSON object with the seconds of each run; writes the last result to OUT.
import java.io.File;
import java.nio.charset.StandardCharsets;
import org.deidentifier.arx.ARXAnonymizer;
import org.deidentifier.arx.ARXConfiguration;
import org.deidentifier.arx.ARXResult;
import org.deidentifier.arx.AttributeType;
import org.deidentifier.arx.AttributeType.Hierarchy;
import org.deidentifier.arx.Data;
import org.deidentifier.arx.DataHandle;
import org.deidentifier.arx.criteria.DistinctLDiversity;
import org.deidentifier.arx.criteria.EntropyLDiversity;
import org.deidentifier.arx.criteria.EqualDistanceTCloseness;
import org.deidentifier.arx.criteria.KAnonymity;
import org.deidentifier.arx.metric.Metric;

public class ArxBench {
    static final String SENSITIVE = "occupation";

    public static void main(String[] args) throws Exception {
        boolean local = args[2].equals("local");
        String[] model = args[3].split(":");
        StringBuilder times = new StringBuilder();
        StringBuilder loads = new StringBuilder();
        DataHandle output = null;
        for (int run = 0; run < Integer.parseInt(args[4]); run++) {
            long start = System.nanoTime();
            Data data = Data.create(args[0], StandardCharsets.UTF_8, ';');
            DataHandle handle = data.getHandle();
            for (int at = 0; at < handle.getNumColumns(); at++) {
                String name = handle.getAttributeName(at);
                if (name.equals(SENSITIVE)) {
                    data.getDefinition().setAttributeType(name, model[0].equals("none")
                        ? AttributeType.INSENSITIVE_ATTRIBUTE : AttributeType.SENSITIVE_ATTRIBUTE);
                } else {
                    data.getDefinition().setAttributeType(name, Hierarchy.create(
                        new File(args[1], "adult_hierarchy_" + name + ".csv"),
                        StandardCharsets.UTF_8, ';'));
                }
            }
            long loaded = System.nanoTime();
            ARXConfiguration config = ARXConfiguration.create();
            config.addPrivacyModel(new KAnonymity(5));
            if (model[0].equals("distinct")) {
                config.addPrivacyModel(new DistinctLDiversity(SENSITIVE, Integer.parseInt(model[1])));
            } else if (model[0].equals("entropy")) {
                config.addPrivacyModel(new EntropyLDiversity(SENSITIVE, Double.parseDouble(model[1])));
            } else if (model[0].equals("t")) {
                config.addPrivacyModel(new EqualDistanceTCloseness(SENSITIVE, Double.parseDouble(model[1])));
            }
            config.setSuppressionLimit(local ? 1d - 0.01d : 0.04d);
            config.setQualityModel(Metric.createLossMetric(local ? 0d : 0.5d));
            ARXResult result = new ARXAnonymizer().anonymize(data, config);
            output = result.getOutput();
            if (local) {
                result.optimizeIterativeFast(output, 0.01d);
            }
            long end = System.nanoTime();
            String comma = run > 0 ? ", " : "";
            times.append(comma).append((end - loaded) / 1e9);
            loads.append(comma).append((loaded - start) / 1e9);
        }
        output.save(args[5], ';');
        System.out.println("{\"seconds\": [" + times + "], \"load\": [" + loads + "]}");
    }
}
