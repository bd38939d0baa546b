package qupath.lib.scripting

/** The methods of QuPath's class QP (0.6, 0.7) that the scripts call, on an image set by a test. */
class QP {
    static final String PROJECT_BASE_DIR = '{%PROJECT}'
    static Map image
    static List entries = []
    static File projectFolder

    static String getCurrentImageName() { image.name }
    static getCurrentServer() { new Server(image) }
    static getCurrentHierarchy() { image.hierarchy }
    static Collection getAnnotationObjects() { image.hierarchy.getAnnotationObjects() }
    static getProjectEntry() { new Entry(image) }
    static getProject() { new Project() }
    static String buildFilePath(String first, String... more) {
        ([first.replace(PROJECT_BASE_DIR, projectFolder.path)] + more.toList()).join('/')
    }
}

class Server {
    private Map image
    Server(Map image) { this.image = image }
    int getWidth() { image.width }
    int getHeight() { image.height }
    Collection<URI> getURIs() { [new URI(null, null, image.file, null)] }
}

class Entry {
    private Map image
    Entry(Map image) { this.image = image }
    String getID() { image.id }
    String getImageName() { image.name }
}

class Project {
    List getImageList() { QP.entries.collect { new Entry(it) } }
}
