// Imports the glands and proposed regions of a run into all images of a project.
// To start it: Run > Run for project.
// Objects of an earlier import are replaced. What you drew stays as it is, and so do annotations
// that you changed, detections whose class you changed, and all annotations inside a region that
// you outlined.
import java.util.zip.GZIPInputStream
import qupath.lib.io.PathIO
import qupath.lib.scripting.ScriptAttributes
import static qupath.lib.scripting.QP.*

@FIND_SLIDE@
if (!candidates) {
    println "${image}: skipped, no slide of this run has its name"
    return
}
// The outline files are found relative to this script, wherever the results were copied to.
def results
try {
    results = new File(getProperty(ScriptAttributes.FILE_PATH)).getParentFile().getParentFile()
} catch (MissingPropertyException error) {
    println "${image}: NOT DONE, open the script from the folder qupath of the results " +
        'instead of pasting it'
    return
}
def slide = candidates[0].id
def glandFile = new File(results, "glands/${slide}.@ENDING@")
def proposalFile = new File(results, "proposals/${slide}.geojson")
if (!glandFile.isFile()) {
    println "${image}: NOT DONE, ${glandFile} does not exist: " +
        'the slide failed or is not finished, see report.html'
    return
}

// Each outline file records the size of its slide. The result is null when the image has that size.
def server = getCurrentServer()
def problemOf = { File file ->
    def head = new byte[4096]
    file.withInputStream { raw ->
        def stream = file.name.endsWith('.gz') ? new GZIPInputStream(raw) : raw
        stream.readNBytes(head, 0, head.length)
    }
    def size = new String(head, 'UTF-8') =~ '"viewer": \\{"width": (\\d+), "height": (\\d+)'
    if (!size.find()) {
        return "${file} does not record the size of its slide"
    }
    def (width, height) = [size.group(1) as int, size.group(2) as int]
    return width == server.getWidth() && height == server.getHeight() ? null :
        "${file} was written for ${width} x ${height} px, " +
        "this image has ${server.getWidth()} x ${server.getHeight()} px: " +
        'another slide, or export.origin?'
}
def sources = [glandFile, proposalFile].findAll { it.isFile() }
def problem = sources.collect(problemOf).find { it }
if (problem) {
    println "${image}: NOT DONE, ${problem}"
    return
}

def glandClass = @GLAND_CLASS@
def proposedClass = @PROPOSED_CLASS@
def regionClasses = @REGION_CLASSES@
def className = { object -> object.getPathClass() as String }
// The state of an annotation is kept in its metadata under this key. A later import compares it
// with the state at that time: if they differ, a person changed the annotation.
def stateKey = 'gland pipeline'
def stateOf = { object ->
    def roi = object.getROI()
    def values = [roi.getArea(), roi.getCentroidX(), roi.getCentroidY()]
    def sizes = values.collect { Math.round(100 * it) }
    def numbers = [roi.getNumPoints()] + sizes
    "${object.getPathClass()}, ${object.getName()}, ${numbers.join(' ')}".toString()
}
def isUnchanged = { object ->
    object.isDetection() ? className(object) == glandClass
                         : object.getMetadata().get(stateKey) == stateOf(object)
}

def hierarchy = getCurrentHierarchy()
def regionShapes = hierarchy.getAnnotationObjects()
    .findAll { object -> regionClasses.any { "${object.getPathClass()}".startsWith(it) } }
    .collect { it.getROI().getGeometry() }
def isInRegion = { object ->
    object.isAnnotation() && regionShapes.any { it.intersects(object.getROI().getGeometry()) }
}
// Imported objects have ids of UUID version 5 (from slide and place); QuPath gives random ids of
// version 4 to everything that is drawn.
def imported = hierarchy.getAllObjects(false).findAll { it.getID().version() == 5 }
def replaced = imported.findAll { isUnchanged(it) && !isInRegion(it) }
def keptIds = imported.collect { it.getID() } as Set
keptIds.removeAll(replaced.collect { it.getID() })

def glands
def proposed
try {
    glands = PathIO.readObjects(glandFile)
    proposed = proposalFile.isFile() ? PathIO.readObjects(proposalFile) : []
} catch (Exception error) {
    println "${image}: NOT DONE, ${error}"
    return
}
// When the glands are annotations, the glands of the proposed regions would be outlined twice.
if (glands.any { it.isAnnotation() }) {
    proposed = proposed.findAll { className(it) != glandClass }
}
def all = glands + proposed
def added = all.findAll { !keptIds.contains(it.getID()) && !isInRegion(it) }
added.findAll { it.isAnnotation() }.each { it.getMetadata().put(stateKey, stateOf(it)) }
hierarchy.removeObjects(replaced as Set, true)
hierarchy.addObjects(added)
def squareCount = proposed.count { className(it) == proposedClass }
def outlineCount = proposed.size() - squareCount
println "${image}: slide ${slide}, ${glands.size()} glands, " +
    "${squareCount} proposed regions with ${outlineCount} outlines; " +
    "${added.size()} objects added, ${replaced.size()} replaced, " +
    "${keptIds.size()} kept (changed, or in an area of class ${regionClasses.join(' or ')}), " +
    "${all.size() - added.size()} not added there"
