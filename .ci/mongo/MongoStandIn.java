import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;

/** Serves MongoDB's wire protocol from memory, for tests where there is no mongod. Arguments: address and port. */
public class MongoStandIn {
    /** The version that is reported; today's drivers refuse the one that the server reports of its own. */
    static final class Version implements MongoVersion {
        @Override public List<Integer> getVersionArray() { return List.of(5, 0, 0); }
        @Override public int getWireVersion() { return 13; }
    }

    /** Runs one command at a time: what the memory answers with is its own document, which the next command may change. */
    static final class Backend extends MemoryBackend {
        @Override public synchronized Document handleMessage(MongoMessage message) {
            return super.handleMessage(message).cloneDeeply();
        }
    }

    public static void main(String[] args) throws Exception {
        MemoryBackend backend = new Backend();
        backend.version(new Version());
        new MongoServer(backend).bind(args[0], Integer.parseInt(args[1]));
        System.out.println("up");
        Thread.currentThread().join();
    }
}
